"""The real `openai` client and /v1/responses over a scripted model: its helpers read our events, and what it
sends back of our answers is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from appliance import errors
from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.wire.messages import ChatPrompt, Delta, FinishReason, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, Line, Silence, text_of
from tests.integration.api_door import Door, opened, wait_for

pytestmark = pytest.mark.integration

USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CALLING = (
    Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"city":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '"Oslo"}')]),
    Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
)


class City(BaseModel):
    name: str


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[OpenAI]:
    with client_of(door) as client:
        yield client


def client_of(door: Door, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{door.url}/v1", api_key=key, max_retries=0)


def script(door: Door, *lines: Line) -> None:
    door.inference.script = lambda _: lines


def test_a_whole_answer_is_kept_read_paged_and_deleted(client: OpenAI) -> None:
    told = client.responses.create(model=MODEL, input="hi", metadata={"a": "b"})
    assert told.output_text == "Hello"
    assert told.usage is not None
    assert told.usage.input_tokens_details.cached_tokens == 3
    assert client.responses.retrieve(told.id).output_text == "Hello"
    assert [item.type for item in client.responses.input_items.list(told.id, limit=1)] == ["message"]
    client.responses.delete(told.id)
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.retrieve(told.id)
    assert raised.value.code == "response_not_found"


def test_the_streaming_helper_reads_thoughts_and_calls(door: Door, client: OpenAI) -> None:
    script(door, *CALLING)
    with client.responses.stream(model=MODEL, input="weather?", tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.reasoning_text.delta" in kinds
    call = final.output[-1]
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.arguments == '{"city":"Oslo"}'


def test_the_output_of_an_answer_can_be_sent_back(door: Door, client: OpenAI) -> None:
    script(door, *CALLING)
    first = client.responses.create(model=MODEL, input="weather?", tools=[WEATHER], store=False)
    items: list[Any] = [
        {"role": "user", "content": "weather?"},
        *first.output,
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
    ]
    client.responses.create(model=MODEL, input=items, tools=[WEATHER])
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [message["role"] for message in prompt.messages] == ["user", "assistant", "tool"]
    assert prompt.messages[1]["reasoning_content"] == "hm"


def test_parse_reads_a_structure(door: Door, client: OpenAI) -> None:
    script(door, *text_of('{"name":', '"Oslo"}'))
    told = client.responses.parse(model=MODEL, input="where?", text_format=City)
    assert told.output_parsed == City(name="Oslo")
    assert door.inference.requests[-1].constraint is not None
    with client.responses.stream(model=MODEL, input="where?", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(name="Oslo")


def test_a_fault_in_mid_stream_is_a_failed_response(door: Door, client: OpenAI) -> None:
    script(door, *text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL"))
    events = list(client.responses.create(model=MODEL, input="hi", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert "SIGKILL" in last.response.error.message


def test_what_is_not_done_is_the_clients_own_exception(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=MODEL, input="hi", background=True)
    assert raised.value.param == "background"
    told = client.responses.create(model=MODEL, input="hi")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(told.id)
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=MODEL, input="hi", previous_response_id="resp_nope")
    assert raised.value.code == "previous_response_not_found"


def test_a_client_that_closes_its_stream_ends_the_answer_and_nothing_is_kept(
    door: Door, client: OpenAI
) -> None:
    script(door, *text_of("Hel")[:1], Silence(30), *text_of("lo"))
    stream = client.responses.create(model=MODEL, input="hi", stream=True)
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()
    wait_for(lambda: door.inference.running == 0)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.response.id)


def test_nobody_reads_the_responses_of_another_key() -> None:
    mine, other = access_keys.generate(), access_keys.generate()
    ring = KeyRing({key.key_id: StoredKey(sha256=key.sha256) for key in (mine, other)})
    with opened(keys=ring) as door, client_of(door, mine.text) as me, client_of(door, other.text) as you:
        told = me.responses.create(model=MODEL, input="secret")
        assert me.responses.retrieve(told.id).output_text
        with pytest.raises(openai.NotFoundError):
            you.responses.retrieve(told.id)
        with pytest.raises(openai.NotFoundError):
            you.responses.input_items.list(told.id)
        with pytest.raises(openai.BadRequestError):
            you.responses.create(model=MODEL, input="hi", previous_response_id=told.id)
