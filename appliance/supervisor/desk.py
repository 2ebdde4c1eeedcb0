"""All decisions about one model: who waits, who holds a lease, when its runner starts, ends or is left alone.

No thread, clock or process here: the time comes in, wishes go out through `Effects`, slow work comes back
as one more call (`start` … `ready` or `gone`). That is what makes every path testable without a process.
"""

from __future__ import annotations

import itertools
from typing import Generic, Protocol, TypeVar

from appliance.errors import (
    DeadlineExceeded,
    ModelBroken,
    ModelInvalid,
    OutpostError,
    Overloaded,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.supervisor.history import FileStamp, GoLater, History, Refuse
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.queue import ServiceTime
from appliance.supervisor.states import RunnerState, advance
from appliance.supervisor.turn import Standing, Turn
from appliance.supervisor.waiting_room import Line, WaitingRoom
from appliance.wire.messages import ModelFacts

_numbers = itertools.count(1)
R = TypeVar("R")
"""The runner: opaque here, an identity that is granted and stopped."""
R_contra = TypeVar("R_contra", contravariant=True)


class Waiter(Protocol[R_contra]):
    """What the desk needs of a ticket (`ticket.Ticket`)."""

    arrived_s: float | None
    granted_at_s: float
    first_standing: Standing | None
    standing: Standing | None

    @property
    def owner(self) -> str: ...
    @property
    def turn(self) -> Turn: ...

    def answer(self, answer: R_contra | OutpostError, /) -> None: ...


class Effects(Protocol[R]):
    """What a decision may cause. None of these blocks."""

    def start_runner(self, desk: Desk[R], /) -> None:
        """Spawn and load. Answered by `started`, then `ready` or `gone`; or by `gone` alone with None for a
        runner.
        """

    def stop_runner(self, runner: R, error: OutpostError | None) -> None:
        """Tell it to end; its open requests fail with `error`. Answered by `gone`."""

    def stamp(self, path: str) -> FileStamp | None: ...


class Desk(Generic[R]):
    """One model. Owned by the supervisor thread."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        queue: QueuePolicy,
        runners: RunnerPolicy,
        effects: Effects[R],
        room: WaitingRoom[Waiter[R]] | None = None,
    ) -> None:
        """`room`: where its line is a part of; None: one of its own."""
        self.spec = spec
        self.state = RunnerState.STOPPED if spec.broken is None else RunnerState.FAILED
        self.runner: R | None = None
        self.is_held_back = False
        """A runner of the model's former files still ends: nothing starts until `let_go`."""
        self.history = History()
        self.wake_at_s: float | None = None
        """When `tick` wants to be called."""
        self.starts = 0
        self.number = next(_numbers)
        """No other desk of this process has it."""
        self.changes = 0
        """Counts the calls that may have changed what is shown of it."""
        self.stamp = effects.stamp(spec.path)
        """The file as last looked at."""
        self.facts: ModelFacts | None = None
        """Of the last successful load."""
        if room is None:
            room = WaitingRoom(limit=queue.max_waiting, background_max_wait_s=queue.background_max_wait_s)
        self.waiting: Line[Waiter[R]] = room.line(self)
        self.leases: set[Waiter[R]] = set()
        self._queue = queue
        self._runners = runners
        self._effects = effects
        self._service = ServiceTime()
        self._closing = False

    def begin(self, now_s: float) -> None:
        """Once, at the start: a model to be preloaded is started."""
        self.changes += 1
        self._proceed(now_s)

    def let_go(self, now_s: float) -> None:
        """It was held back by a runner that has ended."""
        self.changes += 1
        self.is_held_back = False
        self._proceed(now_s)

    def describe(self, spec: ModelSpec, now_s: float) -> None:
        """The same model with other words around it (`ModelSpec.loads_like`); its runner stays."""
        self.changes += 1
        self.spec = spec
        self._proceed(now_s)

    # ── wishes of requests ─────────────────────────────────────────────────────────────────────────────────

    def acquire(self, ticket: Waiter[R], now_s: float) -> None:
        """Answered at once, or later when a lease is free."""
        self.changes += 1
        if self._closing:
            ticket.answer(ShuttingDown())
        elif self.spec.broken is not None:
            ticket.answer(ModelBroken(model=self.spec.name, reason=self.spec.broken))
        elif not self.waiting.push(ticket, now_s):
            ticket.answer(self._overloaded())
        else:
            self._proceed(now_s)
            if ticket in self.waiting:
                self.waiting.tell(now_s)

    def release(self, ticket: Waiter[R], now_s: float, *, succeeded: bool) -> None:
        """The end of a lease, or of the patience of one who waits. Unknown tickets (of a runner that is
        gone) are ignored.
        """
        self.changes += 1
        if self.waiting.remove(ticket) or ticket not in self.leases:
            return
        self.leases.discard(ticket)
        self._service.observe(now_s - ticket.granted_at_s)
        if succeeded:
            self.history = History()
        self._proceed(now_s)

    # ── wishes of the waiting room ─────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def free_leases(self) -> int:
        return self._queue.max_running - len(self.leases)

    def eta_s(self, position: int) -> float | None:
        if self.state is not RunnerState.READY:
            return None
        return self._service.eta_s(position=position, max_running=self._queue.max_running)

    def displaced(self, guest: Waiter[R], /) -> None:
        self.changes += 1
        guest.answer(self._overloaded(is_displaced=True))

    def look_again(self, now_s: float) -> None:
        """What the room allows has changed (`WaitingRoom.is_background_held`)."""
        self.changes += 1
        self._proceed(now_s)

    def retry_after_s(self) -> float:
        return self._service.retry_after_s(waiting=len(self.waiting), max_running=self._queue.max_running)

    # ── news of the runner ─────────────────────────────────────────────────────────────────────────────────

    def started(self, runner: R) -> None:
        """Its process exists and loads."""
        self.changes += 1
        self.runner = runner
        if self.state is not RunnerState.STARTING:
            self._effects.stop_runner(runner, ShuttingDown())

    def ready(self, runner: R, facts: ModelFacts, now_s: float) -> None:
        self.changes += 1
        if runner is self.runner and self.state is RunnerState.STARTING:
            self.facts = facts
            self.state = advance(self.state, RunnerState.READY)
            self._proceed(now_s)

    def gone(self, runner: R | None, fault: OutpostError | None, now_s: float) -> None:
        """Its process has ended, or could not be started (`runner` None). `fault` None: it ended because it
        was told to.
        """
        self.changes += 1
        if runner is not self.runner:
            return
        self.runner = None
        self.leases.clear()
        if self.state is RunnerState.STOPPING:
            self.state = advance(self.state, RunnerState.STOPPED)
            return
        was_loading = self.state is RunnerState.STARTING
        self.state = advance(self.state, RunnerState.FAILED)
        error = fault or RunnerStartFailed(model=self.spec.name, reason="it ended by itself")
        self.history = self.history.after(error, now_s=now_s, stamp=self._look())
        if was_loading or self._closing:
            self._refuse_all(error, now_s)
        self._proceed(now_s)

    def tick(self, now_s: float) -> None:
        """A timer that `wake_at_s` asked for, or a deadline of one who waits."""
        self._expire(now_s)
        if self.wake_at_s is not None and now_s >= self.wake_at_s:
            self.wake_at_s = None
            self.changes += 1
            self._proceed(now_s)

    # ── the end ────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self, now_s: float) -> None:
        """Refuse what waits and what comes, let what runs finish, then stop. Idempotent."""
        self.changes += 1
        if self._closing:
            return
        self._closing = True
        self._refuse_all(ShuttingDown(), now_s)
        if self.state is RunnerState.READY:
            self.state = advance(self.state, RunnerState.DRAINING)
        self._proceed(now_s)

    def retire(self, now_s: float) -> list[Waiter[R]]:
        """It is no longer among the models: as `drain`, but those who wait are handed back, in turn."""
        waiting = self.waiting.drain(now_s)
        self.drain(now_s)
        return waiting

    def halt(self) -> None:
        """The drain's deadline has passed: what still runs fails with ShuttingDown."""
        self.changes += 1
        if self.state is RunnerState.DRAINING and self.runner is not None:
            self.state = advance(self.state, RunnerState.STOPPING)
            self._effects.stop_runner(self.runner, ShuttingDown())

    @property
    def is_over(self) -> bool:
        return self._closing and self.runner is None and not self.has_process

    # ── deciding ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _has_room(self) -> bool:
        return self.state is RunnerState.READY and len(self.leases) < self._queue.max_running

    def _proceed(self, now_s: float) -> None:
        """1. Closing: a runner that loads, or drains with no lease left, is stopped; nothing starts.
        2. Ready: leases are granted while there is room.
        3. No runner, and someone waits or the model is to be preloaded: start, wait for the back-off, or
        refuse.
        """
        if self._closing:  # 1
            self._wind_up()
            return
        self._expire(now_s)
        while self._has_room and self.runner is not None and (ticket := self.waiting.pop(now_s)):  # 2
            self._grant(ticket, self.runner, now_s)
        may_start = self.spec.broken is None and not self.is_held_back
        if may_start and (self.waiting or self.spec.preload) and not self.has_process:  # 3
            self._start(now_s)

    @property
    def has_process(self) -> bool:
        """Or is about to have one."""
        return self.state not in (RunnerState.STOPPED, RunnerState.FAILED)

    def _wind_up(self) -> None:
        is_idle = self.state is RunnerState.DRAINING and not self.leases
        if is_idle or self.state is RunnerState.STARTING:
            self.state = advance(self.state, RunnerState.STOPPING)
            if self.runner is not None:
                self._effects.stop_runner(self.runner, ShuttingDown())

    def _start(self, now_s: float) -> None:
        verdict = self.history.verdict(self.spec.name, now_s=now_s, stamp=self._look(), policy=self._runners)
        if isinstance(verdict, Refuse):
            self._refuse_all(verdict.error, now_s)
            self.wake_at_s = verdict.until_s if self.spec.preload else None
        elif isinstance(verdict, GoLater):
            self.wake_at_s = verdict.at_s
        else:
            self.wake_at_s = None
            self.starts += 1
            self.state = advance(self.state, RunnerState.STARTING)
            self._effects.start_runner(self)

    def _grant(self, ticket: Waiter[R], runner: R, now_s: float) -> None:
        ticket.granted_at_s = now_s
        self.leases.add(ticket)
        ticket.answer(runner)

    def _refuse_all(self, error: OutpostError, now_s: float) -> None:
        for ticket in self.waiting.drain(now_s):
            ticket.answer(error)

    def _expire(self, now_s: float) -> None:
        """Nobody is started whose deadline has come."""
        for ticket in self.waiting.expire(now_s):
            self.changes += 1
            limit_s, retry_s = ticket.turn.deadline_s or 0.0, self.retry_after_s()
            ticket.answer(DeadlineExceeded(limit_s=limit_s, retry_after_s=retry_s, is_begun=False))

    def _overloaded(self, *, is_displaced: bool = False) -> Overloaded:
        room = self.waiting.room
        return Overloaded(
            waiting=room.taken,
            limit=room.limit,
            retry_after_s=self.retry_after_s(),
            is_displaced=is_displaced,
        )

    def _look(self) -> FileStamp | None:
        self.stamp = self._effects.stamp(self.spec.path)
        return self.stamp

    @property
    def reason(self) -> str | None:
        """Why it does not run, for people; None while nothing is wrong."""
        if self.spec.broken is not None:
            return f"broken: {self.spec.broken}"
        if self.state is RunnerState.READY or self.history.fault is None:
            return None
        if self.history.is_quarantined(self._runners):
            return f"quarantined after {self.history.crashes} crashes in a row: {self.history.cause}"
        if isinstance(self.history.fault, ModelInvalid):
            return self.history.cause
        return f"the last runner failed: {self.history.cause}"

    @property
    def quarantined_until_s(self) -> float | None:
        return self.history.quarantined_until_s(self._runners) if self.state is RunnerState.FAILED else None
