"""Open WebUI's requests to an OpenAI connection, in the form in which it sends them, to a real daemon with
tiny models.

As of its `backend/open_webui/routers/openai.py` at commit a53ab70d937e (newer than v0.6, and the newest that
could be read): models are listed with the key and the user's headers; a chat is OpenAI's, without `metadata`,
or, where the connection says so, made into a response; tokens are counted in Anthropic's form. An answer is a
stream if its type says `text/event-stream`; all else is read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gguf import PoolingType

from tests.daemon import Daemon
from tests.fakes import tiny_gguf
from tests.fakes.model_files import generator
from tests.integration.open_webui import HEADERS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TOOL = {"name": "lamp", "description": "Switches it.", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "lamp", "arguments": "{}"}}
CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Light, please"}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        {"role": "user", "content": "And?"},
    ],
    "max_tokens": 8,
    "seed": 3,
}
RESPONSE: dict[str, Any] = {
    "model": "tiny",
    "instructions": "Be kind.",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Light, please"}]},
        {"type": "function_call", "call_id": "call_1", "name": "lamp", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is on."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ],
    "max_output_tokens": 16,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("open-webui")
    embedder = tiny_gguf.write_encoder(directory / "embed.gguf", pooling=PoolingType.MEAN)
    with Daemon(directory / "one", models={"tiny": generator(), "embedder": embedder}) as running:
        yield running


def ask(daemon: Daemon, path: str, body: dict[str, Any]) -> httpx.Response:
    content = json.dumps(body).encode()
    return httpx.post(f"{daemon.url}/v1{path}", headers=HEADERS, content=content, timeout=60, trust_env=False)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert "text/event-stream" in answer.headers["content-type"]
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def test_models_are_listed_and_that_is_how_a_connection_is_verified(daemon: Daemon) -> None:
    told = httpx.get(f"{daemon.url}/v1/models", headers=HEADERS, trust_env=False)
    assert {model["id"] for model in told.json()["data"]} == {"tiny", "embedder"}


def test_a_chat_is_streamed_with_its_usage(daemon: Daemon) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    tools = [{"type": "function", "function": TOOL}]
    told = events(ask(daemon, "/chat/completions", {**body, "tools": tools}))
    assert told[-1]["usage"]["completion_tokens"] <= 8
    assert any(chunk["choices"] and chunk["choices"][0]["finish_reason"] for chunk in told)


def test_a_title_is_asked_for_whole(daemon: Daemon) -> None:
    answer = ask(daemon, "/chat/completions", {**CHAT, "stream": False})
    assert isinstance(answer.json()["choices"][0]["message"]["content"], str)


def test_a_chat_that_was_made_into_a_response(daemon: Daemon) -> None:
    body = {**RESPONSE, "tools": [{"type": "function", **TOOL}]}
    whole = ask(daemon, "/responses", {**RESPONSE, "stream": False}).json()
    parts = [part for item in whole["output"] if item["type"] == "message" for part in item["content"]]
    assert all(part["type"] == "output_text" for part in parts)
    assert whole["usage"]["output_tokens"] <= 16
    told = events(ask(daemon, "/responses", {**body, "stream": True}))
    assert told[0]["type"] == "response.created"
    assert told[-1]["type"] in {"response.completed", "response.incomplete"}
    # Where it keeps no history of its own: `ENABLE_RESPONSES_API_STATEFUL`.
    more = {**RESPONSE, "input": RESPONSE["input"][-1:], "previous_response_id": whole["id"], "stream": False}
    assert ask(daemon, "/responses", more).json()["previous_response_id"] == whole["id"]


def test_documents_are_embedded_and_tokens_counted(daemon: Daemon) -> None:
    told = ask(daemon, "/embeddings", {"model": "embedder", "input": ["hello", "world"]}).json()
    assert [one["index"] for one in told["data"]] == [0, 1]
    assert isinstance(told["data"][0]["embedding"][0], float)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    assert ask(daemon, "/messages/count_tokens", body).json()["input_tokens"] > 0


def test_a_fault_is_json_with_its_status_also_when_a_stream_was_asked_for(daemon: Daemon) -> None:
    for path, body in (("/chat/completions", CHAT), ("/responses", RESPONSE)):
        answer = ask(daemon, path, {**body, "model": "nobody", "stream": True})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        assert "nobody" in answer.json()["error"]["message"]
