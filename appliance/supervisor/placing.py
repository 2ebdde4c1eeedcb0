"""Between a desk that wants to start and its process: the ladder is made, a rung is chosen, room is made.

desk ─► start ─► Planning (a thread) ─► Residency (on the loop) ─► launch
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import OutpostError
from appliance.hardware.process_memory import anonymous_bytes
from appliance.hardware.root import Root
from appliance.log import logger
from appliance.planner.budget import Budget
from appliance.planner.facts import Ladder, Rung
from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.fitting import Fitting
from appliance.supervisor.planning import Planned, Planning
from appliance.supervisor.policy import ModelSpec, ResidencyPolicy
from appliance.supervisor.residency import Residency
from appliance.supervisor.retrying import Retrying
from appliance.supervisor.starting import Post, Starting
from appliance.supervisor.states import RunnerState
from appliance.wire.messages import Ready

_log = logger("supervisor")

_PROCESSES: Final = Root(Path("/"))
"""Runners are real, on whatever board they are planned for."""


class Plans(Protocol):
    """What is known of sizes and of this board (`daemon/plans.py`)."""

    def ladder(self, spec: ModelSpec, budgets: Sequence[int] = ()) -> Ladder:
        """Every placement it could be loaded with; with exact sizes where one may be chosen now, or with one
        of `budgets`. Blocks, on the planning thread; raises OutpostError.
        """

    def budget(self) -> Budget | None:
        """What may be planned with now; None: unknown, and everything is let in. Does not block."""

    def reclaim(self) -> None:
        """Have the kernel give back what it can and join what is free. Blocks, on the planning thread."""

    def learn(self, spec: ModelSpec, rung: Rung, measured_bytes: int) -> None:
        """What a load took, of what was planned. Any thread; must not block for long."""


class Placing:
    """Owned by the supervisor thread, but for `start_thread` and `close` (the daemon's)."""

    def __init__(
        self,
        desks: Callable[[], Iterable[Desk[Runner]]],
        *,
        plans: Plans,
        policy: ResidencyPolicy,
        starting: Starting,
        in_turn: Callable[[float], Sequence[object]],
        post: Post,
    ) -> None:
        self._plans = plans
        self._starting = starting
        self._post = post
        self._planning = Planning(plans.ladder)
        self._retrying = Retrying(self._budget_bytes)
        self._residency: Residency[Runner] = Residency(desks, memory=self, policy=policy, in_turn=in_turn)
        self.fitting = Fitting(self._planning, self._residency, post=post)
        """The questions whether a model would fit; to be asked from any thread."""

    @property
    def wake_at_s(self) -> float | None:
        return self._residency.wake_at_s

    @property
    def evictions(self) -> int:
        return self._residency.evictions

    def start_thread(self) -> None:
        self._planning.start()

    def close(self) -> None:
        self._planning.close()

    def start(self, desk: Desk[Runner]) -> None:
        self._retrying.forget(desk)
        self._plan(desk)

    def _plan(self, desk: Desk[Runner], first: Callable[[], None] = lambda: None) -> None:
        """`first`: done before, on the planning thread."""
        self._planning.submit(
            desk.spec,
            lambda planned: self._post(lambda now_s: self._planned(desk, planned, now_s)),
            first=first,
            budgets=self._residency.budgets_bytes(desk),
        )

    def tick(self, now_s: float) -> None:
        self._residency.tick(now_s)

    def relieve(self, now_s: float) -> None:
        name = self._residency.relieve(now_s)
        if name is not None:
            _log.warning("model_evicted", runner=name, why="memory pressure")

    def _planned(self, desk: Desk[Runner], planned: Planned, now_s: float) -> None:
        if isinstance(planned, OutpostError):
            desk.gone(None, planned, now_s)
        else:
            self._residency.ask(desk, self._retrying.ladder(desk, planned), now_s)

    def _gone(
        self, desk: Desk[Runner], rung: Rung, runner: Runner, fault: OutpostError | None, now_s: float
    ) -> None:
        """A process has ended that was started with `rung`."""
        if fault is None or runner is not desk.runner or desk.state is not RunnerState.STARTING:
            desk.gone(runner, fault, now_s)
            return
        verdict = self._retrying.verdict(desk, rung, runner.refused_by, fault)
        if verdict is None:
            desk.start_over()
            self._plan(desk, first=self._plans.reclaim)
        else:
            desk.gone(runner, verdict, now_s)

    def _budget_bytes(self) -> int | None:
        budget = self._plans.budget()
        return None if budget is None else budget.bytes

    # ── residency.Memory ───────────────────────────────────────────────────────────────────────────────────

    def budget(self) -> Budget | None:
        return self._plans.budget()

    def touched_bytes(self, runner: Runner) -> int | None:
        """On the host: its own pages, and not those of mapped files, which look free. A device's buffers
        are taken as a whole at the load, and nowhere to be read.
        """
        ready = runner.ready
        if ready is not None and ready.facts.device != "cpu":
            return None
        return anonymous_bytes(runner.pid, _PROCESSES) or 0

    def launch(self, desk: Desk[Runner], rung: Rung) -> None:
        spec = placed(desk.spec, rung)
        self._starting.submit(
            desk,
            spec,
            loaded=lambda ready: self._loaded(spec, rung, ready),
            gone=lambda runner, fault, now_s: self._gone(desk, rung, runner, fault, now_s),
        )

    # ── a runner's reader thread ───────────────────────────────────────────────────────────────────────────

    def _loaded(self, spec: ModelSpec, rung: Rung, ready: Ready) -> None:
        """The canonical line of what was planned against what was taken."""
        _log.info(
            "runner_memory",
            runner=spec.name,
            planned_bytes=rung.footprint.total_bytes,
            measured_bytes=ready.measured_bytes,
            conceded=[f"{one.what}: {one.wanted} -> {one.got}" for one in rung.conceded],
        )
        self._plans.learn(spec, rung, ready.measured_bytes)


def placed(spec: ModelSpec, rung: Rung) -> ModelSpec:
    """What is started: the model with the rung's placement, or the smaller one that stands in, under the
    model's name.
    """
    for smaller in spec.smaller:
        if smaller.name == rung.variant:
            return replace(smaller, name=spec.name, placement=rung.placement, preload=spec.preload)
    return replace(spec, placement=rung.placement)
