"""What a request wishes of the queue, and what its answer tells of the wait."""

from __future__ import annotations

import pytest

from appliance.errors import DeadlineExceeded
from appliance.supervisor.turn import Priority, Standing, Turn
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door, events_of, refusal


def asked(headers: dict[str, str] | None = None, **fields: object) -> Turn:
    """The turn that the supervisor hears of."""
    door = Door()
    answer = door.chat(headers, **fields)
    assert answer.status_code == 200, answer.text
    (turn,) = door.inference.turns
    assert turn.request_id == answer.headers["x-request-id"]
    return turn


def test_without_a_wish_a_request_is_realtime_and_has_no_deadline() -> None:
    turn = asked()
    assert (turn.priority, turn.deadline_s) == (Priority.REALTIME, None)


@pytest.mark.parametrize("told", ["realtime", "background"])
def test_the_class_is_taken_from_the_header(told: str) -> None:
    assert asked({"X-Outpost-Priority": told}).priority == told


@pytest.mark.parametrize("told", ["", "Background", "background, realtime", "low", "0", "ünder"])
def test_another_class_is_refused(told: str) -> None:
    answer = Door().chat({"X-Outpost-Priority": told})
    assert refusal(answer) == (400, "X-Outpost-Priority", "invalid_value")
    assert answer.json["error"]["message"].endswith("must be realtime or background")


@pytest.mark.parametrize(
    ("told", "seconds"), [("1", 1.0), ("0.05", 0.05), ("2.5", 2.5), ("3600", 3600.0), ("1e2", 100.0)]
)
def test_a_deadline_is_a_number_of_seconds(told: str, seconds: float) -> None:
    assert asked({"X-Outpost-Deadline-S": told}).deadline_s == seconds


@pytest.mark.parametrize(
    "told", ["", "0", "-1", "0.049", "3600.1", "nan", "inf", "1_0", "٣", "5 s", "1, 2", "9" * 400, "0x10"]
)
def test_another_deadline_is_refused_with_its_bounds(told: str) -> None:
    answer = Door().chat({"X-Outpost-Deadline-S": told})
    assert refusal(answer) == (400, "X-Outpost-Deadline-S", "invalid_value")
    assert answer.json["error"]["message"].endswith("must be a number of seconds from 0.05 to 3600")


@pytest.mark.parametrize("told", ["", "2", "yes", "true"])
def test_another_wish_for_progress_is_refused(told: str) -> None:
    answer = Door().chat({"X-Outpost-Progress": told}, stream=True)
    assert refusal(answer) == (400, "X-Outpost-Progress", "invalid_value")


# ── OpenAI's service_tier ───────────────────────────────────────────────────────────────────────────────────


def test_the_tier_flex_means_background_and_a_header_wins() -> None:
    assert asked(service_tier="flex").priority is Priority.BACKGROUND
    assert asked({"X-Outpost-Priority": "realtime"}, service_tier="flex").priority is Priority.REALTIME


@pytest.mark.parametrize("tier", ["auto", "default", None])
def test_the_usual_tiers_are_realtime_without_a_word(tier: str | None) -> None:
    answer = Door().chat(service_tier=tier)
    assert answer.status_code == 200
    assert "x-outpost-warning" not in answer.headers


@pytest.mark.parametrize("tier", ["scale", "priority", "fast"])
def test_a_tier_above_the_default_is_ignored_with_a_warning(tier: str) -> None:
    answer = Door().chat(service_tier=tier)
    assert (
        answer.headers["x-outpost-warning"]
        == "'service_tier' is ignored: there is no tier above the default one"
    )


@pytest.mark.parametrize(
    ("asked_for", "served"), [("flex", "flex"), ("auto", "default"), ("fast", "default")]
)
def test_who_asks_for_a_tier_hears_which_it_was(asked_for: str, served: str) -> None:
    assert Door().chat(service_tier=asked_for).json["service_tier"] == served
    chunks = events_of(Door().chat(service_tier=asked_for, stream=True))
    assert {chunk["service_tier"] for chunk in chunks[:-1]} == {served}
    assert "service_tier" not in Door().chat().json


def test_an_unknown_tier_is_refused() -> None:
    assert refusal(Door().chat(service_tier="gold")) == (400, "service_tier", "invalid_value")


# ── other routes ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/rerank", {"query": "x", "documents": ["y"]}),
        ("/tokenize", {"content": "x"}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
def test_every_route_that_asks_a_model_takes_the_wishes(path: str, body: dict[str, object]) -> None:
    door = Door()
    headers = {"X-Outpost-Priority": "background", "X-Outpost-Deadline-S": "9"}
    assert door.post(path, {"model": MODEL, **body}, headers).status_code == 200
    (turn,) = door.inference.turns
    assert (turn.priority, turn.deadline_s) == (Priority.BACKGROUND, 9.0)
    assert refusal(door.post(path, {"model": MODEL, **body}, {"X-Outpost-Priority": "x"}))[0] == 400


def test_several_prompts_share_the_class_and_what_is_left_of_the_deadline() -> None:
    door = Door(FakeInference(standing=Standing(position=4, eta_s=1.0), waited_s=2.0))
    body = {"model": MODEL, "prompt": ["a", "b", "c"]}
    answer = door.post(
        "/v1/completions", body, {"X-Outpost-Priority": "background", "X-Outpost-Deadline-S": "9"}
    )
    assert {turn.priority for turn in door.inference.turns} == {Priority.BACKGROUND}
    assert all(turn.deadline_s is not None and 8.0 < turn.deadline_s < 9.0 for turn in door.inference.turns)
    assert len(door.inference.turns) == 3
    assert answer.headers["x-outpost-queue-position"] == "4"
    assert answer.headers["x-outpost-queue-s"] == "2.000"


# ── what the answer tells ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_tells_the_place_at_arrival_and_the_wait(stream: bool) -> None:
    door = Door(FakeInference(standing=Standing(position=3, eta_s=12.0), waited_s=4.25))
    answer = door.chat(stream=stream)
    assert answer.headers["x-outpost-queue-position"] == "3"
    assert answer.headers["x-outpost-queue-s"] == "4.250"


def test_who_did_not_wait_had_the_place_nought() -> None:
    answer = Door().chat()
    assert answer.headers["x-outpost-queue-position"] == "0"
    assert answer.headers["x-outpost-queue-s"] == "0.000"


def test_a_route_that_asks_no_model_tells_of_no_queue() -> None:
    assert not any(name.startswith("x-outpost-queue") for name in Door().get("/v1/models").headers)


def test_a_deadline_that_passed_in_the_queue_is_a_504_with_when_to_try_again() -> None:
    door = Door(FakeInference(refuse=DeadlineExceeded(limit_s=2.0, retry_after_s=7.2, is_begun=False)))
    answer = door.chat({"X-Outpost-Deadline-S": "2"})
    assert refusal(answer) == (504, None, "deadline_exceeded")
    assert answer.headers["retry-after"] == "8"
    assert "its deadline of 2 s passed while the request waited" in answer.json["error"]["message"]


def test_pages_of_listed_origins_may_send_the_wishes_and_read_the_wait() -> None:
    door = Door(allowed_origins=["https://chat.example"])
    answer = door.client.simulate_options(
        "/v1/chat/completions", headers={"Origin": "https://chat.example"}, host="localhost"
    )
    assert "x-outpost-priority" in answer.headers["access-control-allow-headers"]
    assert "x-outpost-queue-position" in answer.headers["access-control-expose-headers"]
