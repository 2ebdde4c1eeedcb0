"""/v1/messages: what comes back, whole and as events."""

from __future__ import annotations

from typing import Any

import pytest

from appliance import errors
from appliance.wire.messages import Delta, FinishReason, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, Silence, text_of
from tests.unit.api.anthropic.asked import HELLO, VERSION, events_of, post, refusal, scripted
from tests.unit.api.door import Door, comments_of

USAGE = Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=2, reasoning_tokens=1)


def said(text: str = "", **fields: Any) -> Delta:
    return Delta(id=1, choice=0, text=text, tokens=1, **fields)


def called(index: int, arguments: str, *, name: str | None = None) -> Delta:
    call_id = f"call_{index}" if name else None
    return said(tool_calls=[ToolCallDelta(index, call_id, name, arguments)])


def ended(reason: FinishReason = FinishReason.STOP, *, stop: str | None = None) -> Delta:
    return said(finish_reason=reason, stop=stop, usage=USAGE)


THINKS_AND_CALLS: list[Line] = [
    said(reasoning="hm"),
    said(reasoning="m"),
    said("I "),
    said("look."),
    called(0, "", name="weather"),
    called(0, '{"city":'),
    called(0, '"Bonn"}'),
    called(1, "{}", name="time"),
    ended(FinishReason.TOOL_CALLS),
]
CONTENT = [
    {"type": "thinking", "thinking": "hmm", "signature": ""},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Bonn"}},
    {"type": "tool_use", "id": "call_1", "name": "time", "input": {}},
]


def test_a_whole_message() -> None:
    told = post(Door()).json
    assert told.pop("id").startswith("msg_")
    assert told == {
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 2,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    }


def test_thoughts_text_and_calls_are_blocks() -> None:
    told = post(scripted(*THINKS_AND_CALLS)).json
    assert told["content"] == CONTENT
    assert told["stop_reason"] == "tool_use"
    assert told["usage"]["output_tokens_details"] == {"thinking_tokens": 1}


def test_a_call_that_broke_off_is_empty_and_told() -> None:
    door = scripted(called(0, '{"city":', name="weather"), ended(FinishReason.LENGTH))
    answer = post(door, max_tokens=2)
    assert answer.json["content"][0]["input"] == {}
    assert answer.json["stop_reason"] == "max_tokens"
    assert "'weather' is not whole" in answer.headers["x-outpost-warning"]


@pytest.mark.parametrize(
    ("last", "fields", "reason", "sequence"),
    [
        (ended(), {}, "end_turn", None),
        (ended(stop="X"), {"stop_sequences": ["X", "Y"]}, "stop_sequence", "X"),
        (ended(stop="S"), {"stop_sequences": ["X"]}, "end_turn", None),
        (ended(FinishReason.LENGTH), {"max_tokens": 2}, "max_tokens", None),
        (ended(FinishReason.LENGTH), {"max_tokens": 3}, "model_context_window_exceeded", None),
        (ended(FinishReason.TOOL_CALLS), {}, "tool_use", None),
    ],
)
def test_why_it_ended(last: Delta, fields: dict[str, Any], reason: str, sequence: str | None) -> None:
    whole = post(scripted(said("a"), last), **fields).json
    streamed = events_of(post(scripted(said("a"), last), stream=True, **fields))[-2]["delta"]
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    assert streamed == {"stop_reason": reason, "stop_sequence": sequence}


def test_a_streams_events_come_in_anthropics_order() -> None:
    answer = post(Door(), stream=True)
    told = events_of(answer)
    start = told[0]["message"]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert start["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 0,
    }
    assert told[1:] == [
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 4,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 3,
                "output_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 0},
            },
        },
        {"type": "message_stop"},
    ]
    assert "[DONE]" not in answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_blocks_of_a_stream_follow_each_other() -> None:
    told = events_of(post(scripted(*THINKS_AND_CALLS), stream=True))
    assert blocks_of(told) == CONTENT
    order = [event["type"].removeprefix("content_block_") for event in told if "index" in event]
    assert [kind for kind in order if kind != "delta"] == ["start", "stop"] * 4


def blocks_of(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a client glues them."""
    import json

    blocks: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    for event in told:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            delta, block = event["delta"], blocks[-1]
            match delta["type"]:
                case "text_delta":
                    block["text"] += delta["text"]
                case "thinking_delta":
                    block["thinking"] += delta["thinking"]
                case "input_json_delta":
                    inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
    for index, told_json in inputs.items():
        blocks[index]["input"] = json.loads(told_json)
    return blocks


def test_all_that_one_step_gained_is_told_in_order() -> None:
    one = said("text", reasoning="thought", tool_calls=[ToolCallDelta(0, "c", "f", "{}")])
    told = blocks_of(events_of(post(scripted(one, ended(FinishReason.TOOL_CALLS)), stream=True)))
    assert [block["type"] for block in told] == ["thinking", "text", "tool_use"]


def test_text_between_calls_has_a_block_of_its_own() -> None:
    lines = [
        called(0, "{}", name="f"),
        said("and"),
        called(1, "{}", name="g"),
        ended(FinishReason.TOOL_CALLS),
    ]
    told = blocks_of(events_of(post(scripted(*lines), stream=True)))
    assert [block["type"] for block in told] == ["tool_use", "text", "tool_use"]


def test_a_runner_that_goes_back_to_an_ended_call_is_a_fault() -> None:
    lines = [called(0, "{", name="f"), called(1, "{}", name="g"), called(0, "}"), ended()]
    assert events_of(post(scripted(*lines), stream=True))[-1]["error"]["type"] == "api_error"


def test_an_empty_answer_has_no_block() -> None:
    told = events_of(post(scripted(ended()), stream=True))
    assert [event["type"] for event in told] == ["message_start", "ping", "message_delta", "message_stop"]
    assert post(scripted(ended())).json["content"] == []


def test_thoughts_that_are_not_wanted_leave_an_empty_block() -> None:
    fields = {"thinking": {"type": "adaptive", "display": "omitted"}}
    assert post(scripted(*THINKS_AND_CALLS), **fields).json["content"][0]["thinking"] == ""
    streamed = blocks_of(events_of(post(scripted(*THINKS_AND_CALLS), stream=True, **fields)))
    assert streamed[0] == {"type": "thinking", "thinking": "", "signature": ""}


def test_a_fault_in_mid_stream_is_the_last_event() -> None:
    door = scripted(said("Hel"), errors.RunnerDied(model="m", cause="SIGKILL"))
    answer = post(door, stream=True)
    last = events_of(answer)[-1]
    assert set(last) == {"type", "error", "request_id"}
    assert last["error"]["type"] == "api_error"
    assert last["request_id"] == answer.headers["request-id"]
    assert door.inference.generations[0].is_closed


def test_who_asks_for_progress_hears_of_the_queue_before_the_message() -> None:
    inference = FakeInference(looks=2)
    answer = post(Door(inference), {"X-Outpost-Progress": "1"}, stream=True)
    assert comments_of(answer)[0].startswith(": queue")
    assert events_of(answer)[0]["type"] == "message_start"


def test_tokens_are_counted_by_the_model() -> None:
    door = Door()
    door.inference.prompt_tokens = 11
    told = {name: value for name, value in HELLO.items() if name != "max_tokens"}
    answer = door.post("/v1/messages/count_tokens", {**told, "system": "be brief"}, VERSION)
    assert answer.json == {"input_tokens": 11}
    (asked,) = door.inference.calls
    assert asked.prompt.messages == [  # type: ignore[union-attr]
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_counting_takes_no_fields_of_an_answer() -> None:
    status, kind, message = refusal(Door().post("/v1/messages/count_tokens", HELLO, VERSION))
    assert (status, kind) == (400, "invalid_request_error")
    assert "max_tokens" in message


def test_silence_is_filled_with_comments() -> None:
    from appliance.api.calls import Limits

    script = [said("a"), Silence(0.2), *text_of("b")]
    door = Door(FakeInference(script=lambda _: script), limits=Limits(heartbeat_s=0.05))
    assert ": ping" in comments_of(post(door, stream=True))
