"""GET /healthz (is the daemon alive), /readyz (would a request be served), /metrics (Prometheus text).

Both verdicts are `health.rules.evaluate`'s over one report; nothing is decided here. Everybody hears the
verdict; names of models, reasons and the report itself are for keys with the scope `system`, and for all
where no key is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import falcon
import msgspec

from appliance.access.scopes import Scope
from appliance.api.answers import HealthAnswer, HealthOutline, ReadinessAnswer, ReadinessOutline
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.health import rules
from appliance.health.report import HealthReport

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Report = Callable[[], HealthReport]


class Health:
    """Stateless; any thread. The verdict, for `system` the whole report; 503 when only a restart helps."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Whether the daemon is alive, and all it knows of itself",
            tag=Tag.HEALTH,
            answer=HealthAnswer | HealthOutline,
            answers_unwell=HealthAnswer | HealthOutline,
            about="503: only a restart helps. Without the scope `system`, an outline.",
        )
    }

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        report = self._report()
        verdict = rules.evaluate(report)
        told: dict[str, Any] = {
            "status": "ok" if verdict.is_live else "not live",
            "live": verdict.is_live,
            "ready": verdict.is_ready,
        }
        if exchange_of(req).may(Scope.SYSTEM):
            told |= _details(verdict)
            told |= msgspec.to_builtins(report)
        else:
            told |= _outline(report)
        _answer(resp, told, is_well=verdict.is_live)


class Readiness:
    """Stateless; any thread. 503 with the reasons when requests should go elsewhere."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Whether a request would be served",
            tag=Tag.HEALTH,
            answer=ReadinessAnswer | ReadinessOutline,
            answers_unwell=ReadinessAnswer | ReadinessOutline,
            about="503: send requests elsewhere. Without the scope `system`, an outline.",
        )
    }

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        report = self._report()
        verdict = rules.evaluate(report)
        told: dict[str, Any] = {"status": "ready" if verdict.is_ready else "not ready"}
        if exchange_of(req).may(Scope.SYSTEM):
            told |= _details(verdict)
            told["models"] = [
                {"name": runner.model, "state": runner.state, "reason": runner.reason}
                for runner in report.runners
            ]
            if report.cooling is not None:
                told["cooling"] = msgspec.to_builtins(report.cooling)
        else:
            told |= _outline(report)
        _answer(resp, told, is_well=verdict.is_ready)


class Metrics:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Metrics for Prometheus", tag=Tag.HEALTH, media_type=METRICS_TYPE, about="Text 0.0.4."
        )
    }

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = METRICS_TYPE
        resp.data = self._render().encode("utf-8", "replace")


def _details(verdict: rules.Verdict) -> dict[str, Any]:
    return {"reasons": verdict.reasons, "degraded": verdict.degraded, "warnings": verdict.warnings}


def _outline(report: HealthReport) -> dict[str, Any]:
    """For everybody: that the door is open wider than a key's, but no addresses and no names."""
    access = report.access
    is_wide = access is not None and bool(access.trusted_subnets)
    return {
        "details": "need a key with the scope 'system'",
        "warnings": ["clients of some subnets have models answer without a key"] if is_wide else [],
        "claim_pending": access is not None and access.is_claim_pending,
    }


def _answer(resp: falcon.Response, told: dict[str, Any], *, is_well: bool) -> None:
    resp.status = falcon.HTTP_200 if is_well else falcon.HTTP_503
    resp.content_type = "application/json"
    resp.set_header("Cache-Control", "no-store")
    resp.data = encode(told)
