"""`POST /outpost/v1/fit`: what is asked, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

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
