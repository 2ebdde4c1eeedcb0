"""/v1/chat/completions: the two forms of the answer."""

from __future__ import annotations

from appliance.wire.messages import Delta, FinishReason, TokenAlternative, TokenLogprob, ToolCallDelta, Usage
from tests.fakes.fake_inference import FakeInference, Line, text_of
from tests.unit.api.door import Door, events_of, refusal
from tests.unit.api.openai.asked import sent

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2, reasoning_tokens=1, decode_s=0.5)


def scripted(*lines: Line) -> Door:
    return Door(FakeInference(script=lambda _: lines))


def test_a_whole_answer_has_every_key_of_openais() -> None:
    told = Door().chat().json
    assert told["id"].startswith("chatcmpl-")
    assert told["object"] == "chat.completion"
    assert told["system_fingerprint"].startswith("fp_")
    assert told["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert told["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert told["timings"]["prompt_n"] == 4
    assert told["timings"]["predicted_per_second"] == 4.0


def test_a_stream_is_role_text_end_and_done() -> None:
    answer = Door().chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = events_of(answer)
    assert [event["choices"][0]["delta"] for event in events[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None, None, None, "stop"]
    assert len({event["id"] for event in events[:-1]}) == 1
    assert all("usage" not in event for event in events[:-1])
    assert events[-2]["timings"]["predicted_n"] == 2
    assert events[-1] == "[DONE]"


def test_include_usage_is_null_until_one_last_chunk_without_choices() -> None:
    events = events_of(Door().chat(stream=True, stream_options={"include_usage": True}))
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] == 9


def test_two_choices_are_told_apart_by_their_index() -> None:
    told = Door().chat(n=2).json
    assert [(choice["index"], choice["message"]["content"]) for choice in told["choices"]] == [
        (0, "Hello"),
        (1, "Hello"),
    ]
    events = events_of(Door().chat(n=2, stream=True))
    text = {0: "", 1: ""}
    for event in events[:-1]:
        text[event["choices"][0]["index"]] += event["choices"][0]["delta"].get("content", "")
    assert text == {0: "Hello", 1: "Hello"}


def test_text_and_finish_in_one_delta_are_two_chunks() -> None:
    last = Delta(id=1, choice=0, text="end", tokens=1, finish_reason=FinishReason.LENGTH, usage=USAGE)
    events = events_of(scripted(last).chat(stream=True))
    assert events[1]["choices"][0] == {
        "index": 0,
        "delta": {"content": "end"},
        "logprobs": None,
        "finish_reason": None,
    }
    assert events[2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}


TOOL_LINES = (
    Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"a":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, "1}")]),
    Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
)


def test_tool_calls_and_reasoning_are_streamed_as_deltas() -> None:
    events = events_of(scripted(*TOOL_LINES).chat(stream=True, tools=[TOOL]))
    deltas = [event["choices"][0]["delta"] for event in events[1:-1]]
    assert deltas[0] == {"reasoning_content": "hm", "reasoning": "hm"}
    assert deltas[1]["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    ]
    assert deltas[2]["tool_calls"] == [{"index": 0, "function": {"arguments": '{"a":'}}]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_calls_and_reasoning_are_put_together_in_a_whole_answer() -> None:
    told = scripted(*TOOL_LINES).chat(tools=[TOOL]).json
    message = told["choices"][0]["message"]
    assert message["content"] is None
    assert message["reasoning_content"] == message["reasoning"] == "hm"
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    ]
    assert told["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}


def test_logprobs_keep_the_bytes_of_half_a_character() -> None:
    half = TokenLogprob(5, b"\xf0\x9f", -0.5, [TokenAlternative(6, b"a", float("-inf"))])
    lines = (
        Delta(id=1, choice=0, text="", tokens=1, logprobs=[half]),
        Delta(id=1, choice=0, text="x", tokens=1, finish_reason=FinishReason.STOP, usage=USAGE),
    )
    expected = {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [240, 159],
        "top_logprobs": [{"token": "a", "logprob": -9999.0, "bytes": [97]}],
    }
    whole = scripted(*lines).chat(logprobs=True, top_logprobs=1).json
    assert whole["choices"][0]["logprobs"] == {"content": [expected], "refusal": None}
    stream = events_of(scripted(*lines).chat(logprobs=True, stream=True))
    assert stream[1]["choices"][0]["logprobs"] == {"content": [expected], "refusal": None}
    assert stream[1]["choices"][0]["delta"] == {}


def test_logprobs_asked_for_reach_the_engine() -> None:
    assert sent(logprobs=True, top_logprobs=3).top_logprobs == 3
    assert sent(logprobs=True).top_logprobs == 0
    assert sent(logprobs=False).top_logprobs is None


def test_text_of_any_kind_survives_a_stream() -> None:
    text = 'a"b\\c\n\n\r\u2028\x00\U0001f600: data'
    door = Door(FakeInference(script=lambda _: text_of(text)))
    assert events_of(door.chat(stream=True))[1]["choices"][0]["delta"]["content"] == text


def test_a_cancelled_generation_that_still_has_a_reader_is_a_fault() -> None:
    line = Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.CANCELLED, usage=USAGE)
    assert refusal(scripted(line).chat())[2] == "engine_fault"
    assert events_of(scripted(line).chat(stream=True))[-1]["error"]["code"] == "engine_fault"


def test_the_lease_is_given_back_in_either_form() -> None:
    door = Door()
    door.chat()
    door.chat(stream=True)
    assert [generation.is_closed for generation in door.inference.generations] == [True, True]
