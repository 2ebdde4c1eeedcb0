"""What the supervisor shows of itself: frozen pictures, made by the loop thread, read by any."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.history import FileStamp
from appliance.supervisor.inference import ModelCard
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.states import RunnerState
from appliance.wire.messages import EngineStats, ModelFacts, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model, for health, metrics and `outpost ps`."""

    name: str
    state: RunnerState
    reason: str | None
    """Why it does not run, in words; None while nothing is wrong."""
    is_preloaded: bool
    is_quarantined: bool
    crashes: int
    """In a row."""
    starts: int
    running: int
    waiting: int
    loading_progress: float | None
    """0 to 1 while it starts; None otherwise."""
    runner_pid: int | None
    sandbox: Sandbox | None
    facts: ModelFacts | None
    load_s: float | None
    rss_bytes: int | None
    last_token_age_s: float | None
    stats: EngineStats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A desk as it was after an event, with the runner for its live readings."""

    spec: ModelSpec
    state: RunnerState
    reason: str | None
    is_quarantined: bool
    crashes: int
    starts: int
    running: int
    waiting: int
    retry_after_s: float
    stamp: FileStamp | None
    runner: Runner | None
    facts: ModelFacts | None

    @classmethod
    def of(cls, desk: Desk[Runner]) -> Published:
        return cls(
            spec=desk.spec,
            state=desk.state,
            reason=desk.reason,
            is_quarantined=desk.is_quarantined,
            crashes=desk.history.crashes,
            starts=desk.starts,
            running=len(desk.leases),
            waiting=len(desk.waiting),
            retry_after_s=desk.retry_after_s(),
            stamp=desk.stamp,
            runner=desk.runner,
            facts=desk.facts,
        )

    def card(self) -> ModelCard:
        return ModelCard(
            name=self.spec.name,
            created_s=self.stamp.mtime_ns // 1_000_000_000 if self.stamp else 0,
            size_bytes=self.stamp.size_bytes if self.stamp else 0,
            state=self.state,
            facts=self.facts,
            reason=self.reason,
        )

    def status(self, now_s: float) -> ModelStatus:
        runner = self.runner
        ready = runner.ready if runner else None
        last_token_at_s = runner.last_token_at_s if runner else None
        is_starting = self.state is RunnerState.STARTING
        return ModelStatus(
            name=self.spec.name,
            state=self.state,
            reason=self.reason,
            is_preloaded=self.spec.preload,
            is_quarantined=self.is_quarantined,
            crashes=self.crashes,
            starts=self.starts,
            running=self.running,
            waiting=self.waiting,
            loading_progress=(runner.loading_progress if runner else 0.0) if is_starting else None,
            runner_pid=runner.pid if runner else None,
            sandbox=ready.sandbox if ready else None,
            facts=self.facts,
            load_s=ready.load_s if ready else None,
            rss_bytes=(runner.stats.rss_bytes or ready.measured_bytes) if runner and ready else None,
            last_token_age_s=None if last_token_at_s is None else max(0.0, now_s - last_token_at_s),
            stats=runner.stats if runner and ready else None,
        )
