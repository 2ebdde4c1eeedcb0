"""Short ways to ask the SDK for what most tests ask: greedy answers of the starter model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.daemon import STARTER_NAME


def chat(client: OpenAI, text: str, **fields: Any) -> ChatCompletion:
    """`fields` go into the body; those that the SDK does not know need `extra_body`."""
    answer: ChatCompletion = client.chat.completions.create(**_body(text, fields))
    return answer


def stream_chat(client: OpenAI, text: str, **fields: Any) -> list[ChatCompletionChunk]:
    """All chunks of a stream that ended well."""
    with client.chat.completions.create(**_body(text, fields), stream=True) as chunks:
        return list(chunks)


def _body(text: str, fields: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": STARTER_NAME, "messages": messages, "temperature": 0, "max_tokens": 24, **fields}


def text_of(answer: ChatCompletion, choice: int = 0) -> str:
    return answer.choices[choice].message.content or ""


def streamed_text(chunks: list[ChatCompletionChunk], choice: int = 0) -> str:
    parts = [one for chunk in chunks for one in chunk.choices if one.index == choice]
    return "".join(part.delta.content or "" for part in parts)


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)
