"""The one table: every leaf of the tree has a row, and every answer the whole error object."""

from __future__ import annotations

import falcon
import pytest

from appliance import errors
from appliance.api import error_responses
from tests.fakes.fake_inference import FakeInference, Silence, text_of
from tests.unit.api.door import Door, events_of, refusal

LEAVES = errors.leaves(errors.OutpostError)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_leaf_of_the_error_tree_has_a_row(leaf: type[errors.OutpostError]) -> None:
    assert leaf in error_responses.TABLE


def test_the_table_names_nothing_but_leaves() -> None:
    assert set(error_responses.TABLE) == set(LEAVES)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_what_can_be_tried_again_says_when_and_nothing_else_does(leaf: type[errors.OutpostError]) -> None:
    can_wait = issubclass(leaf, errors.CapacityError | errors.RunnerError)
    assert error_responses.TABLE[leaf].retry == can_wait


def test_a_full_queue_is_503_with_whole_seconds_to_wait() -> None:
    door = Door(FakeInference(refuse=errors.Overloaded(waiting=9, limit=9, retry_after_s=1.2)))
    answer = door.chat()
    assert refusal(answer) == (503, None, "overloaded")
    assert answer.headers["retry-after"] == "2"


def test_an_over_long_prompt_is_400_with_both_counts() -> None:
    door = Door(FakeInference(refuse=errors.ContextLengthExceeded(prompt_tokens=9000, limit_tokens=4096)))
    answer = door.chat()
    assert refusal(answer) == (400, None, "context_length_exceeded")
    assert "9000" in answer.json["error"]["message"]
    assert "4096" in answer.json["error"]["message"]


def test_an_unknown_model_is_404_and_names_what_there_is() -> None:
    answer = Door().chat(model="nope")
    assert refusal(answer) == (404, "model", "model_not_found")
    assert "fake/model:q4" in answer.json["error"]["message"]


def test_a_bug_of_ours_is_500_and_tells_nothing() -> None:
    answer = Door(FakeInference(refuse=RuntimeError("secret of the house"))).chat()
    assert refusal(answer) == (500, None, "internal_error")
    assert "secret" not in answer.text


def test_an_unknown_route_is_404_in_the_same_form() -> None:
    assert refusal(Door().get("/v1/nope")) == (404, None, "unknown_url")


def test_a_wrong_method_is_405_and_says_which_are_right() -> None:
    answer = Door().get("/v1/chat/completions")
    assert refusal(answer) == (405, None, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_a_method_of_falcons_own_is_refused_in_the_same_form() -> None:
    answer = Door().client.simulate_request("WEBSOCKET", "/v1/models", host="localhost")
    assert refusal(answer) == (400, None, "bad_request")


def test_a_runner_that_dies_in_mid_stream_ends_it_with_an_error_event_and_no_done() -> None:
    script = [*text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL")]
    events = events_of(Door(FakeInference(script=lambda _: script)).chat(stream=True))
    assert events[-1]["error"]["code"] == "runner_died"
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in events


def test_a_runner_that_dies_before_a_whole_answer_is_its_status() -> None:
    script = [*text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL")]
    door = Door(FakeInference(script=lambda _: script))
    answer = door.chat()
    assert refusal(answer) == (503, None, "runner_died")
    assert answer.headers["retry-after"] == "1"
    assert door.inference.generations[0].is_closed


def test_a_bug_in_mid_stream_is_an_internal_error_event() -> None:
    script = [*text_of("Hel")[:1], RuntimeError("secret of the house")]
    answer = Door(FakeInference(script=lambda _: script)).chat(stream=True)
    assert events_of(answer)[-1]["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    from appliance.api.calls import Limits

    door = Door(
        FakeInference(script=lambda _: [Silence(0.05), *text_of("x")]), limits=Limits(request_timeout_s=0.01)
    )
    assert refusal(door.chat()) == (504, None, "deadline_exceeded")
    assert events_of(door.chat(stream=True))[-1]["error"]["code"] == "deadline_exceeded"


def test_every_status_has_a_reason_phrase() -> None:
    for row in error_responses.TABLE.values():
        assert error_responses.status_line(row.status).startswith(f"{row.status} ")
    assert error_responses.status_line(431) == "431 Request Header Fields Too Large"
    assert falcon.HTTP_413.startswith("413")


def test_memory_that_the_driver_refused_has_its_reason() -> None:
    refused = errors.InsufficientMemory(
        model="m", needed_bytes=2, available_bytes=3, reason="nvmap_fragmented"
    )
    told = error_responses.error_object(refused)["error"]
    assert (told["code"], told["reason"]) == ("insufficient_memory", "nvmap_fragmented")
    plain = errors.InsufficientMemory(model="m", needed_bytes=2, available_bytes=1)
    assert "reason" not in error_responses.error_object(plain)["error"]
