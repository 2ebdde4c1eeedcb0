"""Models, health, readiness and metrics as routes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.health.access import AccessHealth
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
        "max_model_len": 2048,
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


# ── to whom ────────────────────────────────────────────────────────────────────────────────────────────────

WIDE = AccessHealth(is_key_needed=True, keys=1, is_claim_pending=True, trusted_subnets=("10.0.0.0/8",))


def with_key(*scopes: Scope) -> tuple[Door, dict[str, str]]:
    key = generate()
    ring = KeyRing({key.key_id: StoredKey(sha256=key.sha256, scopes=frozenset(scopes))})
    report = replace(report_with(replace(READY, model="secret-model")), access=WIDE)
    return Door(keys=ring, report=lambda: report), {"X-Api-Key": key.text}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_verdict_is_for_everybody_and_names_are_for_the_scope_system(path: str) -> None:
    door, headers = with_key(Scope.SYSTEM)
    outline, details = door.get(path), door.get(path, headers)
    assert outline.status_code == details.status_code == 200
    assert "secret-model" not in outline.text
    assert "10.0.0.0" not in outline.text
    assert outline.json["warnings"] == ["clients of some subnets have models answer without a key"]
    assert outline.json["claim_pending"] is True
    assert "secret-model" in details.text
    assert details.json["warnings"] == [
        "clients of 10.0.0.0/8 have models answer without a key",
        "it is not claimed: `outpost keys claim`, with what stands on its console",
    ]
    assert "details" not in details.json


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_key_without_that_scope_hears_what_everybody_hears(path: str) -> None:
    door, headers = with_key(Scope.INFER, Scope.METRICS)
    assert door.get(path, headers).json == door.get(path).json
