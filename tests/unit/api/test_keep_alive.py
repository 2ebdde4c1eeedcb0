"""`keep_alive` of a request on every route that asks a model, and the routes that only load and unload."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import Door, refusal

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"prompt": "a"},
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "q", "documents": ["a"]},
    "/tokenize": {"content": "a"},
    "/detokenize": {"tokens": [65]},
    "/outpost/v1/load": {},
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("10m", 600.0), (30, 30.0), (0, 0.0), ("0", 0.0), (-1, math.inf), ("-1m", math.inf), (None, None)],
)
def test_every_route_that_asks_a_model_hands_it_on(route: str, value: object, seconds: float | None) -> None:
    door = Door()
    answer = door.post(route, {"model": MODEL, "keep_alive": value, **ROUTES[route]})
    assert answer.status_code == 200
    assert door.inference.keep_alives == [seconds]
    assert "X-Outpost-Warning" not in answer.headers


def test_each_of_several_prompts_hands_it_on() -> None:
    door = Door()
    body = {"model": MODEL, "prompt": ["a", "b", "c"], "keep_alive": "10m"}
    assert door.post("/v1/completions", body).status_code == 200
    assert door.inference.keep_alives == [600.0] * 3


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("value", ["soon", "", True, [], {}, "5 m", "9" * 65])
def test_what_is_no_duration_is_refused_by_name(route: str, value: object) -> None:
    door = Door()
    answer = door.post(route, {"model": MODEL, "keep_alive": value, **ROUTES[route]})
    assert refusal(answer) == (400, "keep_alive", "invalid_value")
    assert "1h30m" in answer.json["error"]["message"]
    assert door.inference.keep_alives == []


def test_a_model_is_loaded_and_unloaded_without_being_asked() -> None:
    door = Door()
    loaded = door.post("/outpost/v1/load", {"model": MODEL})
    assert (loaded.status_code, loaded.json) == (200, {"model": MODEL, "state": "ready"})
    stopped = door.post("/outpost/v1/unload", {"model": MODEL})
    assert (stopped.status_code, stopped.json) == (200, {"model": MODEL, "state": "ready"})
    assert door.inference.unloaded == 1
    assert door.inference.requests == []


@pytest.mark.parametrize("route", ["/outpost/v1/load", "/outpost/v1/unload"])
@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "other"}, 404, "model"),
        ({}, 400, "model"),
        ({"model": 5}, 400, "model"),
        ({"model": MODEL, "force": True}, 400, "force"),
    ],
)
def test_what_cannot_be_loaded_or_unloaded_is_named(
    route: str, body: dict[str, Any], status: int, param: str
) -> None:
    assert refusal(Door().post(route, body))[:2] == (status, param)
