"""Models, health, readiness and metrics as routes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.health.report import HealthReport
from tests.fakes.fake_health import READY, report_with
from tests.fakes.fake_inference import MODEL
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


def test_health_is_the_whole_report_with_its_verdict() -> None:
    report = report_with(replace(READY, model="a"))
    answer = Door(report=lambda: report).get("/healthz")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json
    runners = told.pop("runners")
    assert told == {
        "status": "ok",
        "live": True,
        "ready": True,
        "reasons": [],
        "degraded": [],
        "warnings": [],
        "version": "1",
        "uptime_s": 1.0,
        "is_supervisor_alive": True,
        "is_stopping": False,
        "store": None,
        "cooling": None,
        "access": None,
    }
    assert runners[0]["model"] == "a"
    assert (runners[0]["n_seq_max"], runners[0]["kv_cells"]) == (64, 4096)


def test_readiness_names_the_models() -> None:
    answer = Door(report=lambda: report_with(replace(READY, model="a"))).get("/readyz")
    assert answer.json == {
        "status": "ready",
        "reasons": [],
        "degraded": [],
        "warnings": [],
        "models": [{"name": "a", "state": "ready", "reason": None}],
    }


@pytest.mark.parametrize(
    ("report", "health", "readiness", "reasons"),
    [
        (report_with(replace(READY, state="stopped", is_preloaded=False)), 200, 200, []),
        (
            report_with(replace(READY, state="starting", loading_progress=0.5)),
            200,
            503,
            ["m is starting (50% loaded)"],
        ),
        (
            report_with(replace(READY, state="failed", is_quarantined=True, reason="quarantined")),
            200,
            503,
            ["m: quarantined"],
        ),
        (
            report_with(replace(READY, is_hung=True, silent_s=11.0)),
            200,
            503,
            ["m has given no sign of life for 11 s"],
        ),
        (report_with(READY, stopping=True), 200, 503, ["the daemon is stopping"]),
        (report_with(READY, alive=False), 503, 503, ["the supervisor does not answer"]),
    ],
    ids=["configured", "loading", "quarantined", "hung", "stopping", "dead"],
)
def test_both_routes_follow_the_one_rule(
    report: HealthReport, health: int, readiness: int, reasons: list[str]
) -> None:
    door = Door(report=lambda: report)
    assert door.get("/healthz").status_code == health
    assert door.get("/healthz").json["reasons"] == reasons
    assert door.get("/readyz").status_code == readiness
    assert door.get("/readyz").json["reasons"] == reasons


def test_metrics_are_prometheus_text() -> None:
    answer = Door(render_metrics=lambda: "outpost_x 1\n").get("/metrics")
    assert answer.text == "outpost_x 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
