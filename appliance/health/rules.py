"""The verdict over a health report: the one rule behind `/healthz`, `/readyz` and the command line. Pure.

1. Live: the supervisor's loop answers. If not, only a restart of the daemon helps.
2. Ready: live, not stopping, with a model to serve, every preloaded one ready, none quarantined or hung, and
   not too hot for new requests. If not, send requests elsewhere.
3. A model that is merely stopped, or whose last runner failed and may be started again, is no reason: the
   next request starts it.
4. A model that runs elsewhere than it was to, or much slower than it usually does, is served all the same:
   degraded, not unready.
5. A door that is open wider than a key's, or not yet claimed, is a warning: meant so, and to be known. So is
   an audit log that misses changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.health.access import AccessHealth
from appliance.health.report import HealthReport, RunnerHealth
from appliance.supervisor.states import RunnerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    is_live: bool
    is_ready: bool
    reasons: tuple[str, ...]
    """Why it is not ready; empty when it is."""
    degraded: tuple[str, ...] = ()
    """What it serves worse than it should: no reason to send requests elsewhere, but one to look."""
    warnings: tuple[str, ...] = ()
    """What an operator has to know of the door."""


def evaluate(report: HealthReport) -> Verdict:
    reasons: list[str] = []
    if not report.is_supervisor_alive:  # 1
        reasons.append("the supervisor does not answer")
    if report.is_stopping:  # 2
        reasons.append("the daemon is stopping")
    if not report.runners:  # 2
        reasons.append(_without_models(report))
    if report.cooling is not None and not report.cooling.admits:  # 2
        reasons.append(f"it cools down and takes no new request: {report.cooling.reason}")
    reasons += [reason for runner in report.runners if (reason := _reason(runner)) is not None]
    return Verdict(
        is_live=report.is_supervisor_alive,
        is_ready=not reasons,
        reasons=tuple(reasons),
        degraded=tuple(told for runner in report.runners for told in _degraded(runner)),
        warnings=tuple(_warnings(report.access)) if report.access is not None else (),
    )


def _warnings(access: AccessHealth) -> Iterator[str]:
    """5."""
    if access.trusted_subnets:
        yield f"clients of {', '.join(access.trusted_subnets)} have models answer without a key"
    if access.is_claim_pending:
        yield "it is not claimed: `outpost keys claim`, with what stands on its console"
    if access.unaudited:
        yield f"the audit log misses {access.unaudited} changes: its disk is full or fails"


def _without_models(report: HealthReport) -> str:
    if report.store and report.store.fault:
        return report.store.fault
    return "it serves no model; bring one with `outpost import FILE.gguf` or `outpost pull NAME`"


def _reason(runner: RunnerHealth) -> str | None:
    if runner.is_quarantined:  # 2
        return f"{runner.model}: {runner.reason}"
    if runner.is_hung:  # 2
        stalled_s, silent_s = runner.stalled_s or 0.0, runner.silent_s or 0.0
        if stalled_s > silent_s:
            return f"{runner.model} has computed nothing of what it is asked for {stalled_s:.0f} s"
        return f"{runner.model} has given no sign of life for {silent_s:.0f} s"
    if runner.is_preloaded and runner.state != RunnerState.READY:  # 2
        progress = f" ({runner.loading_progress:.0%} loaded)" if runner.loading_progress else ""
        return f"{runner.model} is {runner.state}{progress}" + (f": {runner.reason}" if runner.reason else "")
    return None  # 3


def _degraded(runner: RunnerHealth) -> list[str]:
    """4."""
    return [f"{runner.model} {told}" for told in (runner.alarm, runner.degraded) if told is not None]
