"""What Home Assistant's `ollama` integration sends, by the same package, and what it reads of the answers.

As of `homeassistant/components/ollama` at commits 0d0db908b51d (`entity.py`) and 23492351111e
(`coordinator.py`), the newest that could be read: every thirty seconds both lists at once; with every
question its tools, options and how long the model stays; calls and results without ids; a history that was
cut before a result; up to ten rounds of tools; a form for what an AI task returns; and images, which are
refused here.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import ollama
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.wire.messages import ChatPrompt, Delta, FinishReason, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, text_of
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.integration.api_door import Door, opened

pytestmark = pytest.mark.integration

USAGE: Final = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)
CALL: Final[list[Line]] = [
    Delta(
        id=1,
        choice=0,
        text="",
        tokens=1,
        tool_calls=[ToolCallDelta(0, "call_1", "HassTurnOn", '{"name": "lamp"}')],
    ),
    Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
]
TOOLS: Final = [{"type": "function", "function": {"name": "HassTurnOn", "parameters": {"type": "object"}}}]
RESULT: Final = ollama.Message(role="tool", content='{"data": {"done": true}, "error": null}')
_MOST_ROUNDS: Final = 10
T = TypeVar("T")


@pytest.fixture
def door() -> Iterator[Door]:
    with opened(store=FakeStoreVerbs()) as door:
        yield door


def run(door: Door, work: Callable[[ollama.AsyncClient], Awaitable[T]], **settings: Any) -> T:
    async def whole() -> T:
        client = ollama.AsyncClient(host=door.url, **settings)
        try:
            return await work(client)
        finally:
            await client.close()  # type: ignore[no-untyped-call]

    return asyncio.run(whole())


def script(door: Door, *answers: list[Line]) -> None:
    """One after another; the last again and again."""
    left = list(answers)
    door.inference.script = lambda _: left.pop(0) if len(left) > 1 else left[0]


async def asked(
    client: ollama.AsyncClient, messages: list[ollama.Message], **settings: Any
) -> list[ollama.ChatResponse]:
    stream = await client.chat(
        model=MODEL,
        messages=list(messages),
        stream=True,
        options={"num_ctx": 8192},
        **{"tools": None, "keep_alive": -1, "think": None, "format": None, **settings},
    )
    return [chunk async for chunk in stream]


async def answered(client: ollama.AsyncClient, messages: list[ollama.Message]) -> str:
    """As `_async_handle_chat_log` does it: tools are called until it asks for none."""
    for _ in range(_MOST_ROUNDS):
        chunks = await asked(client, messages, tools=TOOLS, think=False)
        text = "".join(chunk["message"].get("content") or "" for chunk in chunks)
        calls = [call for chunk in chunks for call in chunk["message"].get("tool_calls") or ()]
        assert chunks[-1].done
        made = [
            ollama.Message.ToolCall(
                function=ollama.Message.ToolCall.Function(
                    name=call["function"]["name"], arguments=call["function"]["arguments"]
                )
            )
            for call in calls
        ]
        messages.append(ollama.Message(role="assistant", content=text, tool_calls=made or None))
        if not calls:
            return text
        messages.extend(RESULT for _ in calls)
    return ""


def test_a_house_is_asked_and_its_tools_are_called_in_rounds(door: Door) -> None:
    script(door, CALL, CALL, text_of("It is on."))
    messages = [
        ollama.Message(role="system", content="You control a house."),
        RESULT,  # the cut went between a call and its result
        ollama.Message(role="user", content="Turn on the lamp", images=None),
    ]
    assert run(door, lambda client: answered(client, messages)) == "It is on."
    assert len(door.inference.requests) == 3
    assert door.inference.keep_alives == [math.inf] * 3
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    roles = [message["role"] for message in prompt.messages]
    assert roles == ["system", "tool", "user", "assistant", "tool", "assistant", "tool"]
    for call, result in ((3, 4), (5, 6)):
        made = prompt.messages[call]["tool_calls"][0]
        assert prompt.messages[result]["tool_call_id"] == made["id"]
        assert prompt.messages[result]["name"] == "HassTurnOn"


def test_a_model_stays_for_seconds_that_are_told_with_their_unit(door: Door) -> None:
    user = [ollama.Message(role="user", content="hi")]
    run(door, lambda client: asked(client, user, keep_alive="300s"))
    assert door.inference.keep_alives == [300.0]


def test_an_ai_task_has_a_form(door: Door) -> None:
    form = {
        "type": "object",
        "properties": {"room": {"type": "string", "description": "Where"}, "warm": {"type": "boolean"}},
        "required": ["room"],
    }
    script(door, text_of(json.dumps({"room": "hall"})))
    user = [ollama.Message(role="user", content="Which room?")]
    chunks = run(door, lambda client: asked(client, user, format=form))
    assert json.loads("".join(chunk.message.content or "" for chunk in chunks)) == {"room": "hall"}
    constraint = door.inference.requests[-1].constraint
    assert constraint is not None
    assert constraint.schema == form


def test_its_sensors_read_both_lists_at_once(door: Door) -> None:
    async def both(client: ollama.AsyncClient) -> tuple[ollama.ListResponse, ollama.ProcessResponse]:
        return await asyncio.gather(client.list(), client.ps())

    installed, loaded = run(door, both)
    assert {model.model for model in installed.models} == {MODEL, "tiny:latest"}
    assert [model.model for model in loaded.models] == [MODEL]
    assert sum(model.size or 0 for model in loaded.models) > 0
    assert sum(model.size_vram or 0 for model in loaded.models) >= 0


def test_a_wrong_key_asks_for_a_new_one() -> None:
    """It takes 401 and 403 for that, 429 and 5xx for something that passes, and all else for no Ollama."""
    key = generate()
    with opened(FakeInference(), keys=KeyRing({key.key_id: StoredKey(sha256=key.sha256)})) as door:
        right = {"headers": {"Authorization": f"Bearer {key.text}"}}
        assert run(door, lambda client: client.list(), **right).models
        with pytest.raises(ollama.ResponseError) as refused:
            run(door, lambda client: client.list(), headers={"Authorization": "Bearer old"})
    assert refused.value.status_code == 401


def test_an_image_is_refused_by_name(door: Door, tmp_path: Path) -> None:
    picture = tmp_path / "door.jpg"
    picture.write_bytes(b"\xff\xd8\xff")
    user = [ollama.Message(role="user", content="Who is it?", images=[ollama.Image(value=picture)])]
    with pytest.raises(ollama.ResponseError, match="images") as refused:
        run(door, lambda client: asked(client, user))
    assert refused.value.status_code == 400
