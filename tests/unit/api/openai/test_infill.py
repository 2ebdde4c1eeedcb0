"""POST /infill: llama-server's body and answer, over the same generation as everything else."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from appliance import errors
from appliance.wire.messages import Delta, FileText, FinishReason, TextPrompt, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, Line, text_of
from tests.unit.api.door import Door, comments_of, events_of, refusal

USAGE = Usage(prompt_tokens=9, cached_tokens=2, completion_tokens=3)


def infill(door: Door, **fields: Any) -> falcon.testing.Result:
    return door.post("/infill", {"input_prefix": "def f(", "input_suffix": "): pass", **fields})


def saying(text: str, reason: FinishReason, stop: str | None = None) -> Door:
    last = Delta(id=1, choice=0, text=text, tokens=3, finish_reason=reason, stop=stop, usage=USAGE)
    lines: list[Line] = [last]
    return Door(FakeInference(script=lambda _: lines))


def test_the_gap_is_the_suffix_of_a_completion_with_other_files_before_it() -> None:
    door = Door()
    extra = [{"filename": "a.py", "text": "A"}, {"text": "B"}]
    answer = infill(door, input_extra=extra, prompt="x", n_predict=7, top_k=3, stop=["\n"])
    assert answer.status_code == 200, answer.text
    request = door.inference.requests[0]
    assert request.prompt == TextPrompt(
        text="def f(x", suffix="): pass", files=[FileText("a.py", "A"), FileText("tmp", "B")]
    )
    assert (request.max_tokens, request.stop, request.sampling.top_k) == (7, ["\n"], 3)


@pytest.mark.parametrize(
    ("reason", "stop", "told"),
    [
        (FinishReason.STOP, None, ("eos", "")),
        (FinishReason.STOP, "\n\n", ("word", "\n\n")),
        (FinishReason.LENGTH, None, ("limit", "")),
    ],
)
def test_a_whole_answer_says_why_it_ended(
    reason: FinishReason, stop: str | None, told: tuple[str, str]
) -> None:
    answer = infill(saying("a\nb", reason, stop)).json
    assert (answer["stop_type"], answer["stopping_word"]) == told
    assert (answer["content"], answer["has_new_line"], answer["stop"]) == ("a\nb", True, True)
    assert (answer["tokens_predicted"], answer["tokens_evaluated"], answer["tokens_cached"]) == (3, 9, 2)
    assert (answer["model"], answer["timings"]["prompt_n"]) == (MODEL, 7)


def test_a_stream_ends_with_stop_and_no_done() -> None:
    events = events_of(infill(Door(), stream=True))
    assert [event["content"] for event in events] == ["Hel", "lo", ""]
    assert [event["stop"] for event in events] == [False, False, True]
    assert events[-1]["tokens_predicted"] == 2


def test_a_fault_in_mid_stream_is_its_last_event() -> None:
    script: list[Line] = [*text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL")]
    events = events_of(infill(Door(FakeInference(script=lambda _: script)), stream=True))
    assert events[-1]["error"]["code"] == "runner_died"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input_prefix": None}, "input_prefix", "invalid_value"),
        ({"input_suffix": 5}, "input_suffix", "invalid_value"),
        ({"input_extra": [{"filename": "a"}]}, "input_extra.0.text", "invalid_value"),
        ({"input_extra": [{"text": "a"}] * 257}, "input_extra", "invalid_value"),
        ({"n_predict": -2}, "n_predict", "invalid_value"),
        ({"n_predict": 5, "max_tokens": 5}, "max_tokens", "invalid_value"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"n_probs": 2}, "n_probs", "unsupported_parameter"),
        ({"stream": True, "stream_options": {}}, "stream_options", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    assert refusal(infill(Door(), **fields)) == (400, param, code)


def test_a_model_without_the_tokens_is_refused_by_the_name_of_the_field() -> None:
    refused = errors.Unsupported(feature="'suffix'", reason="no such tokens", param="suffix")
    answer = infill(Door(FakeInference(refuse=refused)))
    assert refusal(answer) == (400, "input_suffix", "unsupported_parameter")
    assert "infill is not supported: no such tokens" in answer.json["error"]["message"]


def test_who_waits_hears_where_it_stands_and_the_name_of_the_field_at_fault() -> None:
    asked = {"model": MODEL, "input_prefix": "a", "input_suffix": "b", "stream": True}
    waiting = FakeInference(looks=2, refuse_later=errors.Unsupported(feature="x", reason="y", param="suffix"))
    answer = Door(waiting).post("/infill", asked, {"X-Outpost-Progress": "1"})
    assert comments_of(answer) == [": queue"]
    assert [event["error"]["param"] for event in events_of(answer)] == ["input_suffix"]


def test_what_editors_send_and_is_not_done_is_said() -> None:
    answer = infill(
        Door(), samplers=["top_k", "infill"], t_max_predict_ms=500, n_indent=0, response_fields=["content"]
    )
    warning = answer.headers["x-outpost-warning"]
    assert "'samplers' is ignored" in warning
    assert "'t_max_predict_ms' is ignored" in warning
    assert "n_indent" not in warning


def test_an_editor_that_warms_the_cache_gets_one_token() -> None:
    door = Door()
    assert "taken as 1" in infill(door, n_predict=0).headers["x-outpost-warning"]
    assert door.inference.requests[0].max_tokens == 1
