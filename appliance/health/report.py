"""The one health report: what each part shows of itself, gathered at one moment. Facts only; `rules`
judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.supervisor.status import ModelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHealth:
    """One model and its runner."""

    model: str
    state: str
    reason: str | None
    is_preloaded: bool
    is_quarantined: bool
    crashes: int
    """In a row."""
    starts: int
    running: int
    waiting: int
    loading_progress: float | None
    runner_pid: int | None
    sandbox_level: str | None
    """full | partial | none, as reached; None while no runner has told."""
    sandbox_missing: tuple[str, ...]
    rss_bytes: int | None
    load_s: float | None
    last_token_age_s: float | None
    device: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    version: str
    uptime_s: float
    is_supervisor_alive: bool
    """Its loop answered just now."""
    is_stopping: bool
    runners: tuple[RunnerHealth, ...]


def collect(
    *,
    version: str,
    uptime_s: float,
    is_supervisor_alive: bool,
    is_stopping: bool,
    models: Sequence[ModelStatus],
) -> HealthReport:
    return HealthReport(
        version=version,
        uptime_s=round(uptime_s, 3),
        is_supervisor_alive=is_supervisor_alive,
        is_stopping=is_stopping,
        runners=tuple(_runner(status) for status in models),
    )


def _runner(status: ModelStatus) -> RunnerHealth:
    sandbox = status.sandbox
    return RunnerHealth(
        model=status.name,
        state=status.state,
        reason=status.reason,
        is_preloaded=status.is_preloaded,
        is_quarantined=status.is_quarantined,
        crashes=status.crashes,
        starts=status.starts,
        running=status.running,
        waiting=status.waiting,
        loading_progress=status.loading_progress,
        runner_pid=status.runner_pid,
        sandbox_level=sandbox.level if sandbox else None,
        sandbox_missing=tuple(sandbox.missing) if sandbox else (),
        rss_bytes=status.rss_bytes,
        load_s=status.load_s,
        last_token_age_s=status.last_token_age_s,
        device=status.facts.device if status.facts else None,
    )
