"""The real `anthropic` client against the real server: what it asks for by itself, and what it makes of our
answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import MessageParam, ToolParam

from appliance import errors
from appliance.access import keys as access_keys
from appliance.access.keys import KeyRing, StoredKey
from appliance.api.calls import Limits
from appliance.api.server import ServerLimits
from appliance.wire.messages import ChatPrompt, Delta, FinishReason, Generate, Progress, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, Silence, text_of
from tests.integration.api_door import Door, opened, wait_for

pytestmark = pytest.mark.integration
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)
HI: list[MessageParam] = [{"role": "user", "content": "hi"}]
TOOL: ToolParam = {"name": "weather", "input_schema": {"type": "object"}}
CALLS: list[Line] = [
    Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"),
    Delta(id=1, choice=0, text="I look.", tokens=1),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"city":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '"Bonn"}')]),
    Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
]


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[Anthropic]:
    with asking(door) as client:
        yield client


def asking(door: Door, **settings: Any) -> Anthropic:
    return Anthropic(base_url=door.url, **{"api_key": "none", "max_retries": 0, **settings})


def script(door: Door, *lines: Line) -> None:
    door.inference.script = lambda _: lines


def test_a_whole_message(client: Anthropic) -> None:
    answer = client.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=HI)
    assert "x-outpost-warning" not in answer.headers  # the client names its version
    message = answer.parse()
    assert message.content[0].type == "text"
    assert message.content[0].text == "Hello"
    assert (message.stop_reason, message.usage.input_tokens) == ("end_turn", 4)
    assert message.usage.cache_read_input_tokens == 3
    assert message._request_id is not None and message._request_id.startswith("req_")


def test_the_helper_for_streams_gathers_text_and_message(door: Door, client: Anthropic) -> None:
    script(door, Progress(1, 512, 8192), Silence(2.2), *text_of("Hel", "lo"))
    with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:
        assert list(stream.text_stream) == ["Hel", "lo"]
        final = stream.get_final_message()
    assert final.content[0].type == "text" and final.content[0].text == "Hello"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 2)


def test_a_stream_of_raw_events(client: Anthropic) -> None:
    events = list(client.messages.create(model=MODEL, max_tokens=9, messages=HI, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_tools_are_called_and_answered(door: Door, client: Anthropic) -> None:
    script(door, *CALLS)
    with client.messages.stream(
        model=MODEL, max_tokens=99, messages=HI, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        message = stream.get_final_message()
    thinking, text, call = message.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert call.type == "tool_use" and call.input == {"city": "Bonn"}
    followed = client.messages.create(
        model=MODEL,
        max_tokens=99,
        tools=[TOOL],
        messages=[
            *HI,
            {"role": "assistant", "content": message.content},  # as the documentation tells people to do
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
        ],
    )
    assert followed.stop_reason == "tool_use"
    told = door.inference.requests[1].prompt
    assert isinstance(told, ChatPrompt)
    assert told.messages[1]["reasoning_content"] == "hm"
    assert told.messages[2] == {"role": "tool", "tool_call_id": call.id, "content": "rain"}


def test_tokens_are_counted(door: Door, client: Anthropic) -> None:
    door.inference.prompt_tokens = 42
    assert client.messages.count_tokens(model=MODEL, messages=HI, tools=[TOOL]).input_tokens == 42


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest(reason="x"), anthropic.BadRequestError),
        (errors.NotAllowed(reason="x"), anthropic.PermissionDeniedError),
        (errors.ModelInvalid(model="m", reason="x"), anthropic.UnprocessableEntityError),
        (errors.DeadlineExceeded(limit_s=1), anthropic.GatewayTimeoutError),
        (errors.RunnerDied(model="m", cause="x"), anthropic.ServiceUnavailableError),
        (errors.EngineFault(reason="x"), anthropic.InternalServerError),
    ],
)
def test_each_error_is_the_clients_own_exception(
    door: Door, client: Anthropic, error: errors.OutpostError, kind: type[anthropic.APIStatusError]
) -> None:
    door.inference.refuse = error
    with pytest.raises(kind) as raised:
        client.messages.create(model=MODEL, max_tokens=9, messages=HI)
    assert raised.value.request_id


def test_a_full_queue_is_529_with_the_clients_type(door: Door, client: Anthropic) -> None:
    door.inference.refuse = errors.Overloaded(waiting=1, limit=1, retry_after_s=1)
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(model=MODEL, max_tokens=9, messages=HI)
    assert (raised.value.status_code, type(raised.value).__name__) == (529, "OverloadedError")


def test_an_unknown_model_is_not_found(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="nope", max_tokens=9, messages=HI)


def test_a_body_that_the_server_itself_refuses_is_told_in_the_same_form() -> None:
    limits = ServerLimits(max_body_bytes=2048)
    with opened(server_limits=limits, limits=Limits(max_body_bytes=2048)) as door, asking(door) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            client.messages.create(model=MODEL, max_tokens=9, messages=HI, system="x" * 9999)
        assert raised.value.status_code == 413
        assert raised.value.body["error"]["type"] == "request_too_large"  # type: ignore[index]


def test_a_fault_in_mid_stream_raises_after_the_text_that_came(door: Door, client: Anthropic) -> None:
    script(door, *text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL"))
    text = ""
    with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:  # noqa: SIM117 - the text that came is looked at
        with pytest.raises(anthropic.APIStatusError, match="SIGKILL"):  # noqa: PT012 - the loop is what raises
            for piece in stream.text_stream:
                text += piece
    assert text == "Hel"


def test_a_client_that_closes_its_stream_cancels_it(door: Door, client: Anthropic) -> None:
    script(door, *text_of("Hel")[:1], *([Silence(0.05)] * 400), *text_of("lo"))
    with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:
        assert next(iter(stream.text_stream)) == "Hel"
    assert wait_for(lambda: door.inference.running == 0) < 2


def test_a_key_is_sent_as_the_client_does() -> None:
    key = access_keys.generate()
    with opened(keys=KeyRing({key.key_id: StoredKey(sha256=key.sha256)})) as door:
        with asking(door) as client, pytest.raises(anthropic.AuthenticationError):
            client.messages.create(model=MODEL, max_tokens=9, messages=HI)
        with asking(door, api_key=key.text) as client:
            assert client.messages.create(model=MODEL, max_tokens=9, messages=HI).content
        with asking(door, api_key=None, auth_token=key.text) as client:
            assert client.messages.create(model=MODEL, max_tokens=9, messages=HI).content


def test_the_client_retries_an_overloaded_server() -> None:
    refusals = [errors.Overloaded(waiting=1, limit=1, retry_after_s=0.1)]

    class Once(FakeInference):
        def generate(self, model: str, request: Generate, **told: object) -> object:  # type: ignore[override]
            if refusals:
                raise refusals.pop()
            return super().generate(model, request, **told)  # type: ignore[arg-type]

    with opened(Once()) as door, asking(door, max_retries=1) as client:
        assert client.messages.create(model=MODEL, max_tokens=9, messages=HI).content
