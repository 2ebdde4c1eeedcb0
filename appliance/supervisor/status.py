"""What the supervisor shows of itself: frozen pictures, made by the loop thread, read by any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.planner.facts import Conceded, Concession, Rung
from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.history import FileStamp
from appliance.supervisor.inference import ModelCard
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.states import Eviction, RunnerState
from appliance.supervisor.turn import Priority
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
    is_hung: bool
    """Ready and silent for long: it will be killed if it does not speak."""
    crashes: int
    """In a row."""
    starts: int
    running: int
    waiting: int
    waiting_background: int
    """Of those who wait, the ones in the class background."""
    loading_progress: float | None
    """0 to 1 while it starts; None otherwise."""
    runner_pid: int | None
    sandbox: Sandbox | None
    facts: ModelFacts | None
    load_s: float | None
    rss_bytes: int | None
    uptime_s: float | None
    """Since it was ready."""
    silent_s: float | None
    """Since its last step or heartbeat."""
    tokens_per_s: float | None
    """Generated over the last ten seconds of heartbeats."""
    last_token_age_s: float | None
    stats: EngineStats | None
    optimized: str | None = None
    """Which variant of the model's weights is served, or why the measured one is not."""
    hint: str | None = None
    """What there may be to gain by one."""
    stalled_s: float = 0.0
    """For how long its runner has computed nothing of what it is asked, though it beats."""
    is_pinned: bool = False
    expires_in_s: float | None = None
    """Until idleness puts it out of memory; None: it does not, or it is at work or not loaded."""
    planned_bytes: int | None = None
    """What its placement takes at its peak, by the plan; None: not loaded, or not planned."""
    measured_bytes: int | None = None
    """What its load took."""
    conceded: tuple[Conceded, ...] = ()
    """What its placement gives up of what was asked for, so that it fits."""
    variant: str | None = None
    """The smaller model that stands in, for the same reason."""
    alarm: str | None = None
    """Why it does not run where it was to run: on a GPU."""
    degraded: str | None = None
    """Why it is much slower than it usually is."""
    calibrated: str | None = None
    """What was measured of it on this board, or why that is not used."""
    evictions: Mapping[Eviction, int] = field(default_factory=dict)
    """Runners put out of memory since the daemon's start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A desk as it was after an event, with the runner for its live readings."""

    of_desk: int
    """Which desk, and as of which of its changes."""
    changes: int
    spec: ModelSpec
    state: RunnerState
    reason: str | None
    quarantined_until_s: float | None
    crashes: int
    starts: int
    evictions: Mapping[Eviction, int]
    running: int
    waiting: int
    waiting_background: int
    retry_after_s: float
    stamp: FileStamp | None
    runner: Runner | None
    facts: ModelFacts | None
    rung: Rung | None
    expires_at_s: float | None

    @classmethod
    def of(cls, desk: Desk[Runner]) -> Published:
        return cls(
            of_desk=desk.number,
            changes=desk.changes,
            spec=desk.spec,
            state=desk.state,
            reason=desk.reason,
            quarantined_until_s=desk.quarantined_until_s,
            crashes=desk.history.crashes,
            starts=desk.starts,
            evictions=dict(desk.evictions),
            running=len(desk.leases),
            waiting=len(desk.waiting),
            waiting_background=desk.waiting.count(Priority.BACKGROUND),
            retry_after_s=desk.retry_after_s(),
            stamp=desk.stamp,
            runner=desk.runner,
            facts=desk.facts,
            rung=desk.rung,
            expires_at_s=desk.expires_at_s,
        )

    def is_still(self, desk: Desk[Runner]) -> bool:
        """Whether it shows `desk`, and nothing has happened there since."""
        return self.changes == desk.changes and self.of_desk == desk.number

    def card(self) -> ModelCard:
        return ModelCard(
            name=self.spec.name,
            created_s=self.stamp.mtime_ns // 1_000_000_000 if self.stamp else 0,
            size_bytes=self._size_bytes,
            state=self.state,
            facts=self.facts,
            reason=self.reason,
            defaults=self.spec.defaults,
            conceded=given_up(self.rung, self.facts),
            variant=self.rung.variant if self.rung else None,
            alarm=self.runner.alarm if self.runner else None,
        )

    @property
    def _size_bytes(self) -> int:
        if self.spec.size_bytes is not None:
            return self.spec.size_bytes
        return self.stamp.size_bytes if self.stamp else 0

    def status(self, now_s: float) -> ModelStatus:
        loaded = self.runner if self.runner and self.runner.ready else None
        ready = loaded.ready if loaded else None
        is_starting = self.state is RunnerState.STARTING
        return ModelStatus(
            name=self.spec.name,
            state=self.state,
            reason=self.reason,
            is_preloaded=self.spec.preload,
            is_quarantined=self.quarantined_until_s is not None and now_s < self.quarantined_until_s,
            is_hung=loaded.is_hung(now_s) if loaded else False,
            crashes=self.crashes,
            starts=self.starts,
            running=self.running,
            waiting=self.waiting,
            waiting_background=self.waiting_background,
            loading_progress=(self.runner.loading_progress if self.runner else 0.0) if is_starting else None,
            runner_pid=self.runner.pid if self.runner else None,
            sandbox=ready.sandbox if ready else None,
            facts=self.facts,
            load_s=ready.load_s if ready else None,
            rss_bytes=(loaded.stats.rss_bytes or ready.measured_bytes) if loaded and ready else None,
            uptime_s=_age(now_s, loaded.ready_at_s) if loaded else None,
            silent_s=loaded.silent_s(now_s) if loaded else None,
            tokens_per_s=loaded.throughput.per_s if loaded else None,
            last_token_age_s=_age(now_s, loaded.last_token_at_s) if loaded else None,
            stats=loaded.stats if loaded else None,
            optimized=self.spec.optimized,
            hint=self.spec.hint,
            stalled_s=loaded.stalled_s(now_s) if loaded else 0.0,
            is_pinned=self.spec.pin,
            expires_in_s=None if self.expires_at_s is None else max(0.0, self.expires_at_s - now_s),
            planned_bytes=self.rung.footprint.total_bytes if self.rung else None,
            measured_bytes=ready.measured_bytes if ready else None,
            conceded=given_up(self.rung, self.facts),
            variant=self.rung.variant if self.rung else None,
            alarm=loaded.alarm if loaded else None,
            degraded=loaded.degraded if loaded else None,
            calibrated=self.spec.calibrated,
            evictions=self.evictions,
        )


def _age(now_s: float, then_s: float | None) -> float | None:
    return None if then_s is None else max(0.0, now_s - then_s)


def given_up(rung: Rung | None, facts: ModelFacts | None) -> tuple[Conceded, ...]:
    """What a placement lacks of the wish for want of memory: not the context that the model was not made
    for.
    """
    if rung is None:
        return ()
    trained = None if facts is None else str(facts.n_ctx_train)
    return tuple(one for one in rung.conceded if not (one.what is Concession.CONTEXT and one.got == trained))
