"""Models, health, readiness and metrics as routes."""

from __future__ import annotations

import pytest

from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door, refusal


def test_the_list_of_models_is_openais() -> None:
    told = Door().get("/v1/models").json
    assert told["object"] == "list"
    assert told["data"][0] | {"meta": {}} == {
        "id": MODEL,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "outpost",
        "state": "ready",
        "reason": None,
        "meta": {},
    }
    assert told["data"][0]["meta"]["n_ctx"] == 2048


@pytest.mark.parametrize("path", ["fake/model:q4", "fake%2Fmodel%3Aq4"])
def test_an_id_with_slash_and_colon_is_found_raw_and_encoded(path: str) -> None:
    assert Door().get(f"/v1/models/{path}").json["id"] == MODEL


def test_an_unknown_id_is_404() -> None:
    assert refusal(Door().get("/v1/models/x/y")) == (404, "model", "model_not_found")


def test_health_says_ok_and_what_others_add() -> None:
    door = Door(details=lambda: {"sandbox": "full"})
    assert door.get("/healthz").json == {
        "sandbox": "full",
        "status": "ok",
        "models": [{"name": MODEL, "state": "ready", "reason": None}],
    }


@pytest.mark.parametrize(
    ("state", "status"), [("ready", 200), ("stopped", 200), ("starting", 503), ("failed", 503)]
)
def test_readiness_follows_the_runners(state: str, status: int) -> None:
    assert Door(FakeInference(state=state)).get("/readyz").status_code == status


def test_metrics_are_prometheus_text() -> None:
    answer = Door(render_metrics=lambda: "outpost_x 1\n").get("/metrics")
    assert answer.text == "outpost_x 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
