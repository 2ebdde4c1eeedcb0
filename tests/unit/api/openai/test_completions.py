"""/v1/completions: prompts in four forms, batches, and the older form of log-probabilities."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from appliance import errors
from appliance.wire.messages import (
    Delta,
    FinishReason,
    Generate,
    Prompt,
    TextPrompt,
    TokenAlternative,
    TokenLogprob,
    TokensPrompt,
    Usage,
)
from tests.fakes.fake_inference import FakeInference, Line, text_of
from tests.unit.api.door import Door, events_of, refusal


def prompts(**fields: Any) -> list[Prompt]:
    door = Door()
    assert door.complete(**fields).status_code == 200
    return [request.prompt for request in door.inference.requests]


def name_of(request: Generate) -> list[Line]:
    """Answers with the prompt itself."""
    assert isinstance(request.prompt, TextPrompt)
    return text_of(request.prompt.text, n=request.n)


@pytest.mark.parametrize(
    ("prompt", "means"),
    [
        ("a", [TextPrompt(text="a")]),
        (["a"], [TextPrompt(text="a")]),
        ([1, 2], [TokensPrompt(tokens=[1, 2])]),
        ([[1, 2]], [TokensPrompt(tokens=[1, 2])]),
    ],
)
def test_a_prompt_is_text_or_token_ids(prompt: object, means: list[Prompt]) -> None:
    assert prompts(prompt=prompt) == means


def test_suffix_and_echo_reach_the_engine() -> None:
    assert prompts(prompt="a", suffix="z") == [TextPrompt(text="a", suffix="z")]
    door = Door()
    door.complete(echo=True, logprobs=None)
    assert door.inference.requests[0].echo is True


def test_sixteen_tokens_are_the_default() -> None:
    door = Door()
    door.complete()
    door.complete(max_tokens=3)
    door.complete(max_tokens=-1)
    assert [request.max_tokens for request in door.inference.requests] == [16, 3, None]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": 5}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [[]]}, "prompt.0", "invalid_value"),
        ({"prompt": ["a", 1]}, "prompt.1", "invalid_value"),
        ({"prompt": [-1]}, "prompt.0", "invalid_value"),
        ({"prompt": [2**31]}, "prompt.0", "invalid_value"),
        ({"prompt": ["a"] * 129}, "prompt", "invalid_value"),
        ({"prompt": ["a"] * 100, "n": 3}, "n", "invalid_value"),
        ({"logprobs": 6}, "logprobs", "invalid_value"),
        ({"logprobs": True}, "logprobs", "invalid_value"),
        ({"best_of": 2, "stream": True}, "best_of", "unsupported_parameter"),
        ({"best_of": 1, "n": 2}, "best_of", "invalid_value"),
        ({"prompt": ["a"] * 100, "best_of": 3}, "best_of", "invalid_value"),
        ({"echo": True, "logprobs": 1}, "logprobs", "unsupported_parameter"),
        ({"echo": True, "suffix": "x"}, "echo", "invalid_value"),
        ({"prompt": [1], "suffix": "x"}, "suffix", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    assert refusal(Door().complete(**fields)) == (400, param, code)


def test_best_of_as_many_as_are_returned_is_fine() -> None:
    assert Door().complete(n=2, best_of=2).status_code == 200


@pytest.mark.parametrize("logprobs", [None, 1])
def test_the_best_of_several_are_those_whose_tokens_are_likeliest(logprobs: int | None) -> None:
    def script(request: Generate) -> list[Line]:
        assert (request.n, request.top_logprobs) == (3, logprobs or 0)
        lines: list[Line] = []
        for choice, (text, value) in enumerate([("worst", -3.0), ("best", -0.5), ("good", -1.0)]):
            token = TokenLogprob(1, text.encode(), value, [])
            lines.append(Delta(id=1, choice=choice, text=text, tokens=1, logprobs=[token]))
        usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=3)
        ends = [Delta(id=1, choice=n, text="", tokens=0, finish_reason=FinishReason.STOP) for n in (0, 1)]
        last = Delta(id=1, choice=2, text="", tokens=0, finish_reason=FinishReason.STOP, usage=usage)
        return [*lines, *ends, last]

    fields = {} if logprobs is None else {"logprobs": logprobs}
    told = Door(FakeInference(script=script)).complete(prompt=["a", "b"], best_of=3, n=2, **fields).json
    assert [choice["text"] for choice in told["choices"]] == ["best", "good"] * 2
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]
    assert (told["choices"][0]["logprobs"] is None) is (logprobs is None)
    assert told["usage"]["completion_tokens"] == 6


def test_a_whole_answer() -> None:
    told = Door().complete().json
    assert told["object"] == "text_completion"
    assert told["choices"] == [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}]
    assert told["usage"]["total_tokens"] == 9


def test_a_stream_ends_with_reason_usage_and_done() -> None:
    events = events_of(Door().complete(stream=True, stream_options={"include_usage": True}))
    assert [event["choices"][0]["text"] for event in events[:3]] == ["Hel", "lo", ""]
    assert events[2]["choices"][0]["finish_reason"] == "stop"
    assert events[3]["choices"] == []
    assert events[3]["usage"]["completion_tokens"] == 2
    assert events[4] == "[DONE]"


def test_logprobs_count_their_text_offset_through_the_answer() -> None:
    def delta(text: str, **more: Any) -> Delta:
        piece = TokenLogprob(1, text.encode(), -1.0, [TokenAlternative(2, b"z", -2.0)])
        return Delta(id=1, choice=0, text=text, tokens=1, logprobs=[piece], **more)

    usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=2)
    lines = (delta("abc"), delta("de", finish_reason=FinishReason.STOP, usage=usage))
    told = Door(FakeInference(script=lambda _: lines)).complete(logprobs=1).json
    assert told["choices"][0]["logprobs"] == {
        "tokens": ["abc", "de"],
        "token_logprobs": [-1.0, -1.0],
        "top_logprobs": [{"z": -2.0}, {"z": -2.0}],
        "text_offset": [0, 3],
    }
    events = events_of(Door(FakeInference(script=lambda _: lines)).complete(logprobs=1, stream=True))
    assert [event["choices"][0]["logprobs"]["text_offset"] for event in events[:2]] == [[0], [3]]


# ── batches
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_prompt_of_a_batch_has_its_own_choices_in_order() -> None:
    door = Door(FakeInference(script=name_of))
    told = door.complete(prompt=["a", "b", "c"], n=2).json
    assert [(choice["index"], choice["text"]) for choice in told["choices"]] == list(enumerate("aabbcc"))
    assert told["usage"]["prompt_tokens"] == 21
    assert told["usage"]["completion_tokens"] == 6
    assert all(generation.is_closed for generation in door.inference.generations)


def test_a_batch_longer_than_its_width_is_worked_off() -> None:
    names = [f"p{number}" for number in range(30)]
    told = Door(FakeInference(script=name_of)).complete(prompt=names).json
    assert [choice["text"] for choice in told["choices"]] == names


def test_a_batch_streams_with_one_end() -> None:
    events = events_of(Door(FakeInference(script=name_of)).complete(prompt=["a", "b"], stream=True))
    texts = {0: "", 1: ""}
    for event in events[:-1]:
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == {0: "a", 1: "b"}
    assert events[-1] == "[DONE]"
    assert sum("timings" in event for event in events[:-1]) == 1


def test_a_full_queue_refuses_a_batch_as_a_whole() -> None:
    door = Door(FakeInference(refuse=errors.Overloaded(waiting=1, limit=1, retry_after_s=1)))
    assert refusal(door.complete(prompt=["a", "b"], stream=True))[2] == "overloaded"


def test_a_fault_in_one_prompt_ends_the_batch_and_frees_the_others() -> None:
    def script(request: Generate) -> list[Line]:
        assert isinstance(request.prompt, TextPrompt)
        if request.prompt.text == "bad":
            return [errors.EngineFault(reason="x")]
        return text_of("fine")

    door = Door(FakeInference(script=script))
    assert refusal(door.complete(prompt=["good", "bad"])) == (500, None, "engine_fault")
    assert door.inference.running == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
