"""`POST /outpost/v1/fit`: what is asked, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.access import keys as access_keys
from appliance.access.keys import StoredKey
from appliance.access.scopes import Scope
from appliance.errors import DeadlineExceeded, InsufficientMemory, ModelBroken, Overloaded
from appliance.planner.choice import Chosen, Wait
from appliance.supervisor.fit_wish import FitWish
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.fakes.plain_budget import rung_of
from tests.unit.api.door import Door, refusal

GIB = 1 << 30


def test_the_answer_has_the_plan_with_its_size_and_the_budget() -> None:
    answer = Door().post("/outpost/v1/fit", {"model": MODEL})
    told = answer.json
    assert answer.status_code == 200
    assert (told["model"], told["fits"], told["verdict"], told["board"]) == (MODEL, True, "fits", None)
    assert told["plan"]["footprint"]["total_bytes"] == GIB
    assert told["plan"]["placement"]["n_ctx_seq"] == 4096
    assert told["budget"]["usable_bytes"] == 4 * GIB
    assert (told["evicts"], told["waits_for"], told["in_memory"]) == ([], [], None)
    assert "error" not in told


def test_wishes_are_handed_on() -> None:
    door = Door()
    body = {"model": MODEL, "n_ctx_seq": 0, "n_parallel": 256, "min_ctx": 1}
    assert door.post("/outpost/v1/fit", body).status_code == 200
    assert door.post("/outpost/v1/fit", {"model": MODEL, "min_ctx": None}).status_code == 200
    assert door.inference.fit_wishes == [FitWish(n_ctx_seq=0, n_seq_max=256, min_ctx=1), FitWish()]


@pytest.mark.parametrize(
    ("outcome", "verdict", "evicts", "waits_for"),
    [
        (Chosen(rung=rung_of(GIB), evict=("a", "b")), "evicts", ["a", "b"], []),
        (Wait(rung=rung_of(GIB), busy=("c",)), "waits", [], ["c"]),
    ],
)
def test_who_goes_and_who_is_waited_for_is_named(
    outcome: Chosen | Wait, verdict: str, evicts: list[str], waits_for: list[str]
) -> None:
    told = Door(FakeInference(fit_outcome=outcome)).post("/outpost/v1/fit", {"model": MODEL}).json
    assert (told["fits"], told["verdict"]) == (True, verdict)
    assert (told["evicts"], told["waits_for"]) == (evicts, waits_for)


def restricted(inference: FakeInference) -> tuple[Door, dict[str, str]]:
    """A key for the fake model alone, and what it sends."""
    key = access_keys.generate()
    stored = StoredKey(sha256=key.sha256, scopes=frozenset({Scope.INFER}), models=(MODEL, "mine"))
    ring = access_keys.KeyRing({key.key_id: stored})
    return Door(inference, keys=ring), {"Authorization": f"Bearer {key.text}"}


@pytest.mark.parametrize(
    ("outcome", "field"),
    [
        (Chosen(rung=rung_of(GIB), evict=("mine", "secret-a", "secret-b")), "evicts"),
        (Wait(rung=rung_of(GIB), busy=("mine", "secret-a", "secret-b")), "waits_for"),
    ],
)
def test_a_key_is_told_that_others_are_in_the_way_and_not_who(outcome: Chosen | Wait, field: str) -> None:
    door, headers = restricted(FakeInference(fit_outcome=outcome))
    answer = door.post("/outpost/v1/fit", {"model": MODEL}, headers)
    assert answer.json[field] == ["mine", "another model"]
    assert "secret" not in answer.text


def test_neither_does_a_refusal_tell_it_here_or_where_a_model_is_asked() -> None:
    refused = InsufficientMemory(
        model=MODEL, needed_bytes=5 * GIB, available_bytes=GIB, min_ctx=512, pinned=["mine", "secret"]
    )
    door, headers = restricted(FakeInference(fit_outcome=refused))
    told = door.post("/outpost/v1/fit", {"model": MODEL}, headers)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    door, headers = restricted(FakeInference(refuse=refused))
    asked = door.post("/v1/chat/completions", chat, headers)
    assert (told.status_code, asked.status_code) == (200, 503)
    assert told.json["error"]["pinned"] == ["mine", "another model"]
    assert told.json["error"]["needed_bytes"] == 5 * GIB
    for answer in (told, asked):
        assert "mine, another model" in answer.json["error"]["message"]
        assert "5.37 GB" in answer.json["error"]["message"]
        assert "secret" not in answer.text


def test_who_may_see_all_models_is_told_all() -> None:
    refused = InsufficientMemory(model=MODEL, needed_bytes=2, available_bytes=1, pinned=["secret"])
    answer = Door(FakeInference(refuse=refused)).post(
        "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    )
    assert "secret" in answer.json["error"]["message"]


def test_a_refusal_is_an_answer_with_the_numbers() -> None:
    refused = InsufficientMemory(model=MODEL, needed_bytes=5 * GIB, available_bytes=GIB, min_ctx=512)
    answer = Door(FakeInference(fit_outcome=refused)).post("/outpost/v1/fit", {"model": MODEL})
    told = answer.json
    assert (answer.status_code, told["fits"], told["verdict"], told["plan"]) == (200, False, "refused", None)
    error = told["error"]
    assert (error["code"], error["type"]) == ("insufficient_memory", "server_error")
    assert (error["needed_bytes"], error["available_bytes"], error["min_ctx"]) == (5 * GIB, GIB, 512)
    assert told["least"]["footprint"]["total_bytes"] == GIB


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n_ctx_seq": -1}, "n_ctx_seq"),
        ({"n_ctx_seq": (1 << 24) + 1}, "n_ctx_seq"),
        ({"n_ctx_seq": "4096"}, "n_ctx_seq"),
        ({"n_ctx_seq": True}, "n_ctx_seq"),
        ({"n_ctx_seq": 1.5}, "n_ctx_seq"),
        ({"n_parallel": 0}, "n_parallel"),
        ({"n_parallel": 257}, "n_parallel"),
        ({"min_ctx": 0}, "min_ctx"),
        ({"min_ctx": 1 << 40}, "min_ctx"),
        ({"min_ctx": [1]}, "min_ctx"),
        ({"model": ""}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": None}, "model"),
        ({"keep_alive": 5}, "keep_alive"),
        ({"board": "pi"}, "board"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(more: dict[str, Any], param: str) -> None:
    door = Door()
    status, told, _ = refusal(door.post("/outpost/v1/fit", {"model": MODEL, **more}))
    assert (status, told) == (400, param)
    assert door.inference.fit_wishes == []


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"model": NaN}', b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(Door().post_bytes("/outpost/v1/fit", body))[0] == 400


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (ModelBroken(model=MODEL, reason="its bytes have changed"), 503, "model_broken"),
        (Overloaded(waiting=8, limit=8, retry_after_s=5.0), 503, "overloaded"),
        (DeadlineExceeded(limit_s=30.0, is_begun=False), 504, "deadline_exceeded"),
    ],
)
def test_what_cannot_be_answered_has_its_status(fault: Exception, status: int, code: str) -> None:
    answer = refusal(Door(FakeInference(refuse=fault)).post("/outpost/v1/fit", {"model": MODEL}))
    assert (answer[0], answer[2]) == (status, code)


def test_an_unknown_model_is_not_found() -> None:
    status, param, code = refusal(Door().post("/outpost/v1/fit", {"model": "other"}))
    assert (status, param, code) == (404, "model", "model_not_found")
