"""Who is in memory: which waiting model is started with which placement, and who makes room for it.

    desk wants to start ─► ladder (planned elsewhere) ─► ask ─┬─ fits ──────────────── start with its rung
                                                              ├─ fits without idle ones ─ evict, wait for
                                                              │                           their end, again
                                                              ├─ fits without busy ones ─ wait; past `turn_s`
                                                              │                           they give way
                                                              └─ never fits ─────────── InsufficientMemory

Those who wait are placed in the waiting room's order (realtime before background, keys in turn, then as
they came), and the first of them is waited for: a small model cannot keep a large one waiting for ever by
taking what was freed for it. A model that nobody waits for (it is to be preloaded) takes what is free and
puts nobody out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol

from appliance.errors import InsufficientMemory, OutpostError
from appliance.planner.budget import Budget
from appliance.planner.choice import Chosen, Wait, choose
from appliance.planner.evictions import Resident
from appliance.planner.facts import Ladder, Rung
from appliance.supervisor.desk import Desk
from appliance.supervisor.effects import R
from appliance.supervisor.policy import ResidencyPolicy
from appliance.supervisor.states import RunnerState

_MINUTE_S: Final = 60.0
_AGAIN_S: Final = 1.0
"""How often memory is looked at for one that waits: others on this machine may give some back."""
_PRELOAD_AGAIN_S: Final = 15.0


class Memory(Protocol[R]):
    """What residency needs to know, and to have done. None of these blocks."""

    def budget(self) -> Budget | None:
        """What may be planned with now, before what those in memory have still to touch; None: unknown."""

    def touched_bytes(self, runner: R) -> int | None:
        """What it holds of what was planned for it; None: all of it."""

    def launch(self, desk: Desk[R], rung: Rung) -> None:
        """Start its process. Answered by `started` or `gone`."""


@dataclass(slots=True)
class _Pending(Generic[R]):
    desk: Desk[R]
    ladder: Ladder
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a model would be placed if it were asked for now."""

    outcome: Chosen | Wait | InsufficientMemory
    budget: Budget | None
    owed_bytes: int
    freed_bytes: int


class Residency(Generic[R]):
    """Owned by the supervisor thread."""

    def __init__(
        self,
        desks: Callable[[], Iterable[Desk[R]]],
        *,
        memory: Memory[R],
        policy: ResidencyPolicy,
        in_turn: Callable[[float], Sequence[object]] = lambda _: (),
    ) -> None:
        """`desks`: all that may have a runner. `in_turn`: the lines of those who wait (`Desk.waiting`), in
        the order in which their models should get what only one can have.
        """
        self._in_turn = in_turn
        self._desks = desks
        self._memory = memory
        self._policy = policy
        self._pending: list[_Pending[R]] = []
        self._swaps: deque[float] = deque()
        """When models were evicted for others, within the last minute."""
        self.wake_at_s: float | None = None
        self.evictions = 0

    def ask(self, desk: Desk[R], ladder: Ladder, now_s: float) -> None:
        """It is STARTING and has no process; from now on it is ours to place."""
        self._pending.append(_Pending(desk, ladder, now_s))
        self.tick(now_s)

    def tick(self, now_s: float) -> None:
        """After every event. Memory is read only while somebody waits for it."""
        if self._pending:
            self._drop_withdrawn(now_s)
            self._pending.sort(key=self._turn(now_s))  # stable: of equals, in the order of arrival
            # While a process ends, its memory is neither free nor taken: nothing can be decided.
            while self._pending and not self._is_one_ending and self._place(self._pending[0], now_s):
                del self._pending[0]
        self.wake_at_s = now_s + _AGAIN_S if self._pending else None

    def relieve(self, now_s: float) -> str | None:
        """The machine is short of memory: one idle model goes. Its name; None: there is none to go, or one
        is on its way out already.
        """
        if self._is_one_ending:
            return None
        idle = [desk for desk in self._desks() if desk.is_idle and not desk.spec.pin]
        if not idle:
            return None
        least = min(idle, key=lambda desk: self._resident(desk, now_s).regret)
        self._evict(least)
        return least.spec.name

    def outlook(self, desk: Desk[R], ladder: Ladder, now_s: float) -> Outlook:
        """What would be decided for a request to `desk` that comes now, before all who wait. What its own
        process holds counts as free, and so do those that are ending: nothing is placed before they have.
        """
        budget = self._memory.budget()
        freed_bytes = self._freed_bytes(desk)
        try:
            outcome: Chosen | Wait | InsufficientMemory = self._outcome(
                desk, ladder, now_s, budget_bytes=_with(budget, freed_bytes), may_evict=True
            )
        except InsufficientMemory as error:
            outcome = error
        return Outlook(
            outcome=outcome, budget=budget, owed_bytes=self._owed_bytes(desk), freed_bytes=freed_bytes
        )

    def budgets_bytes(self, desk: Desk[R]) -> tuple[int, ...]:
        """With what `outlook` may come to reckon: what would be free now, and without the idle ones."""
        free_bytes = _with(self._memory.budget(), self._freed_bytes(desk))
        if free_bytes is None:
            return ()
        free_bytes -= self._owed_bytes(desk)
        idle_bytes = sum(
            other.rung.footprint.total_bytes
            for other in self._desks()
            if other.rung is not None and other.is_idle and not other.spec.pin and other is not desk
        )
        return free_bytes, free_bytes + idle_bytes

    def _turn(self, now_s: float) -> Callable[[_Pending[R]], tuple[bool, int]]:
        """Realtime before background and keys in turn, as the waiting room has it; last those that nobody
        waits for.
        """
        places = {id(line): place for place, line in enumerate(self._in_turn(now_s))}
        last = len(places)
        return lambda pending: (
            not pending.desk.waiting,
            places.get(id(pending.desk.waiting), last),
        )

    # ── placing ────────────────────────────────────────────────────────────────────────────────────────────

    def _drop_withdrawn(self, now_s: float) -> None:
        """Whose requests have all gone, and those of a daemon that stops."""
        for pending in list(self._pending):
            if pending.desk.state is not RunnerState.STARTING or not pending.desk.wants_to_start:
                self._pending.remove(pending)
                pending.desk.not_placed(None, now_s)

    def _place(self, pending: _Pending[R], now_s: float) -> bool:
        """Whether it is settled."""
        desk = pending.desk
        may_evict = bool(desk.waiting)
        try:
            verdict = self._outcome(
                desk,
                pending.ladder,
                now_s,
                budget_bytes=_with(self._memory.budget(), 0),
                may_evict=may_evict,
            )
        except InsufficientMemory as error:
            self._refuse(desk, error, now_s)
            return True
        if isinstance(verdict, Wait):
            self._wait(pending, verdict, now_s)
            return not may_evict and self._put_off(desk, now_s)
        return self._take(desk, verdict, now_s)

    def _outcome(
        self, desk: Desk[R], ladder: Ladder, now_s: float, *, budget_bytes: int | None, may_evict: bool
    ) -> Chosen | Wait:
        """Raises InsufficientMemory."""
        if budget_bytes is None:
            return Chosen(rung=ladder.rungs[0])
        residents = [
            self._resident(other, now_s, may_evict=may_evict)
            for other in self._desks()
            if other.rung is not None and other.has_process and other is not desk and not _is_ending(other)
        ]
        return choose(
            ladder,
            budget_bytes=budget_bytes - self._owed_bytes(desk),
            residents=residents,
            parallel_share=self._policy.parallel_share,
        )

    def _take(self, desk: Desk[R], chosen: Chosen, now_s: float) -> bool:
        if not chosen.evict:
            self._launch(desk, chosen.rung)
            return True
        if self._may_swap(now_s):
            victims = [other for other in self._desks() if other.spec.name in chosen.evict and other.is_idle]
            for victim in victims:
                self._evict(victim)
            self._swaps.append(now_s)
        return False

    def _wait(self, pending: _Pending[R], verdict: Wait, now_s: float) -> None:
        """For busy models; past its turn they let nobody in any more."""
        if now_s - pending.since_s < self._policy.turn_s or not pending.desk.waiting:
            return
        for other in self._desks():
            if other.spec.name in verdict.busy and not other.spec.pin and self._has_served(other, now_s):
                other.give_way(now_s)

    def _put_off(self, desk: Desk[R], now_s: float) -> bool:
        """One that nobody waits for leaves the line, and comes again."""
        desk.not_placed(None, now_s, again_at_s=now_s + _PRELOAD_AGAIN_S)
        return True

    def _refuse(self, desk: Desk[R], error: OutpostError, now_s: float) -> None:
        desk.not_placed(error, now_s, again_at_s=now_s + _PRELOAD_AGAIN_S)

    def _launch(self, desk: Desk[R], rung: Rung) -> None:
        desk.rung = rung
        self._memory.launch(desk, rung)

    def _evict(self, desk: Desk[R]) -> None:
        self.evictions += 1
        desk.evict()

    @property
    def _is_one_ending(self) -> bool:
        return any(_is_ending(desk) for desk in self._desks())

    # ── what there is ──────────────────────────────────────────────────────────────────────────────────────

    def _owed_bytes(self, asking: Desk[R]) -> int:
        """What those in memory were promised and have not touched yet: it looks free and is not."""
        return sum(self._owed_to(desk) for desk in self._desks() if desk is not asking and desk.has_process)

    def _owed_to(self, desk: Desk[R]) -> int:
        if desk.rung is None or desk.state is RunnerState.STOPPING:
            return 0
        planned = desk.rung.footprint.total_bytes
        touched = self._memory.touched_bytes(desk.runner) if desk.runner is not None else 0
        return 0 if touched is None else max(0, planned - touched)

    def _freed_bytes(self, asking: Desk[R]) -> int:
        """What is taken and would be free: of the one that asks, and of those whose end has begun."""
        return sum(self._held_by(desk) for desk in self._desks() if desk is asking or _is_ending(desk))

    def _held_by(self, desk: Desk[R]) -> int:
        if desk.runner is None or desk.rung is None:
            return 0
        touched_bytes = self._memory.touched_bytes(desk.runner)
        return desk.rung.footprint.total_bytes if touched_bytes is None else touched_bytes

    def _resident(self, desk: Desk[R], now_s: float, *, may_evict: bool = True) -> Resident:
        idle_s = now_s - desk.idle_since_s if desk.idle_since_s is not None else 0.0
        return Resident(
            model=desk.spec.name,
            bytes=desk.rung.footprint.total_bytes if desk.rung is not None else 0,
            is_busy=not (may_evict and desk.is_idle and self._has_served(desk, now_s)),
            is_pinned=desk.spec.pin,
            idle_s=max(0.0, idle_s),
            reload_s=desk.load_s,
        )

    def _has_served(self, desk: Desk[R], now_s: float) -> bool:
        return desk.ready_at_s is not None and now_s - desk.ready_at_s >= self._policy.min_residency_s

    def _may_swap(self, now_s: float) -> bool:
        while self._swaps and now_s - self._swaps[0] >= _MINUTE_S:
            self._swaps.popleft()
        return len(self._swaps) < self._policy.max_swaps_per_min


def _is_ending(desk: Desk[R]) -> bool:
    """Its process has been told to end, and has not yet."""
    return desk.state is RunnerState.STOPPING and desk.runner is not None


def _with(budget: Budget | None, freed_bytes: int) -> int | None:
    """The budget if so much more were available."""
    return None if budget is None else max(0, budget.available_bytes + freed_bytes - budget.reserve_bytes)
