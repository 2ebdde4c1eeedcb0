"""All decisions about one model: who waits, who holds a lease, when its runner starts, ends or is left alone.

No thread, clock or process here: the time comes in, wishes go out through `Effects`, slow work comes back
as one more call (`start` … `ready` or `gone`). That is what makes every path testable without a process.
"""

from __future__ import annotations

import itertools
import math
from typing import Generic

from appliance.errors import DeadlineExceeded, ModelBroken, OutpostError, RunnerStartFailed, ShuttingDown
from appliance.planner.facts import Rung
from appliance.supervisor.effects import Effects, R, Waiter
from appliance.supervisor.history import FileStamp, GoLater, History, Refuse
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.queue import ServiceTime
from appliance.supervisor.states import Eviction, RunnerState, advance
from appliance.supervisor.waiting_room import Line, WaitingRoom
from appliance.wire.messages import ModelFacts

_numbers = itertools.count(1)


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
        self.keep_alive_s = spec.keep_alive_s
        """As the last request that got a lease wished, or the model's own."""
        self.idle_since_s: float | None = None
        """Ready, and nobody has a lease or waits."""
        self.ready_at_s: float | None = None
        self.load_s = 0.0
        """From the last decision to start it until it was ready."""
        self.starts = 0
        self.evictions: dict[Eviction, int] = {}
        self.number = next(_numbers)
        """No other desk of this process has it."""
        self.changes = 0
        """Counts the calls that may have changed what is shown of it."""
        self.stamp = effects.stamp(spec.path)
        """The file as last looked at."""
        self.facts: ModelFacts | None = None
        """Of the last successful load."""
        self.rung: Rung | None = None
        """With what its process was started, as planned; None: no process, or one that nobody planned."""
        self.unplaced: OutpostError | None = None
        """Why there was no memory for it the last time."""
        room = WaitingRoom.of(queue) if room is None else room
        self.waiting: Line[Waiter[R]] = room.line(self)
        self.leases: set[Waiter[R]] = set()
        self._queue = queue
        self._runners = runners
        self._effects = effects
        self._service = ServiceTime()
        self._closing = False
        self._started_at_s = 0.0
        self._is_evicted = False
        """Put out of memory: only a request brings it back, also where it is preloaded."""
        self._yields_for: Eviction | None = None
        """Another model waits for its memory, or an operator wants it out: no new leases, then out."""

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
        if spec.keep_alive_s != self.spec.keep_alive_s:
            self.keep_alive_s = spec.keep_alive_s
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
            ticket.answer(self.waiting.room.full(self.retry_after_s()))
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
        guest.answer(self.waiting.room.full(self.retry_after_s(), is_displaced=True))

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
            self.ready_at_s = now_s
            self.load_s = now_s - self._started_at_s
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
        self.rung = None
        self.ready_at_s = self.idle_since_s = self.wake_at_s = None
        self._yields_for = None
        if self.state is RunnerState.STOPPING:
            self.state = advance(self.state, RunnerState.STOPPED)
            self._proceed(now_s)  # somebody may have come while it ended
            return
        was_loading = self.state is RunnerState.STARTING
        self.state = advance(self.state, RunnerState.FAILED)
        error = fault or RunnerStartFailed(model=self.spec.name, reason="it ended by itself")
        self.history = self.history.after(error, now_s=now_s, stamp=self._look())
        if was_loading or self._closing:
            self._refuse_all(error, now_s)
        self._proceed(now_s)

    def start_over(self) -> None:
        """Its runner has ended while it loaded, and another placement is tried: still starting."""
        self.changes += 1
        self.runner = self.rung = None

    def not_placed(
        self, error: OutpostError | None, now_s: float, *, again_at_s: float | None = None
    ) -> None:
        """There is no memory for it (`error`), or nobody waits for it any more (None). No fault of its
        own: its history stays, the next request tries again, and one to be preloaded does at `again_at_s`.
        """
        self.changes += 1
        if self.state is RunnerState.STOPPING:
            self.gone(None, None, now_s)
            return
        self.state = advance(self.state, RunnerState.STOPPED)
        self.unplaced = error
        if error is not None:
            self._refuse_all(error, now_s)
        self.wake_at_s = again_at_s if self.spec.preload and not self._is_evicted else None

    def tick(self, now_s: float) -> None:
        """A timer that `wake_at_s` asked for, or a deadline of one who waits."""
        self._expire(now_s)
        if self.wake_at_s is not None and now_s >= self.wake_at_s:
            self.wake_at_s = None
            self.changes += 1
            self._proceed(now_s)

    # ── memory ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_idle(self) -> bool:
        """Ready, and nobody has a lease or waits for one: it may be evicted."""
        return self.state is RunnerState.READY and not self.leases and not self.waiting

    @property
    def wants_to_start(self) -> bool:
        """Somebody waits for it, or it is to be there without that."""
        return bool(self.waiting) or (self.spec.preload and not self._is_evicted)

    @property
    def expires_at_s(self) -> float | None:
        """When idleness puts it out of memory; None: it does not."""
        if self.idle_since_s is None or self.spec.pin or math.isinf(self.keep_alive_s):
            return None
        return self.idle_since_s + self.keep_alive_s

    def evict(self, why: Eviction = Eviction.MEMORY) -> None:
        """Ends an idle runner; its memory is back when it is gone."""
        self.changes += 1
        self.evictions[why] = self.evictions.get(why, 0) + 1
        self.state = advance(self.state, RunnerState.STOPPING)
        self.wake_at_s = self.idle_since_s = None
        self._is_evicted = True
        if self.runner is not None:
            self._effects.stop_runner(self.runner, None)

    def give_way(self, now_s: float, why: Eviction = Eviction.MEMORY) -> None:
        """Take no new leases, finish those there are, then out of memory. Who comes waits for the next
        start. One that still loads goes when it is ready, unless somebody waits for it.
        """
        is_unwanted = self.state is RunnerState.STARTING and not self.waiting
        if (self.state is RunnerState.READY or is_unwanted) and self._yields_for is None:
            self.changes += 1
            self._yields_for = why
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
        return (
            self.state is RunnerState.READY
            and self._yields_for is None
            and len(self.leases) < self._queue.max_running
        )

    def _proceed(self, now_s: float) -> None:
        """1. Closing: a runner that loads, or drains with no lease left, is stopped; nothing starts.
        2. Ready: leases are granted while there is room. With none left: it gives way to another model, or
        is idle until its time is over.
        3. No runner, and someone waits or the model is to be preloaded: start, wait for the back-off, or
        refuse.
        """
        if self._closing:  # 1
            self._wind_up()
            return
        self._expire(now_s)
        while self._has_room and self.runner is not None and (ticket := self.waiting.pop(now_s)):  # 2
            self._grant(ticket, self.runner, now_s)
        if self.state is RunnerState.READY and not self.leases:  # 2
            self._rest(now_s)
        may_start = self.spec.broken is None and not self.is_held_back
        if may_start and self.wants_to_start and not self.has_process:  # 3
            self._start(now_s)

    def _rest(self, now_s: float) -> None:
        """Without a lease: out, or a timer until then."""
        if self.idle_since_s is None:
            self.idle_since_s = now_s
        expires_at_s = self.expires_at_s
        if self._yields_for is not None or (expires_at_s is not None and now_s >= expires_at_s):
            self.evict(self._yields_for or Eviction.IDLE)
        else:
            self.wake_at_s = expires_at_s

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
            self._started_at_s = now_s
            self._is_evicted = False
            self.state = advance(self.state, RunnerState.STARTING)
            self._effects.start_runner(self)

    def _grant(self, ticket: Waiter[R], runner: R, now_s: float) -> None:
        ticket.granted_at_s = now_s
        wish_s = ticket.keep_alive_s
        self.keep_alive_s = self.spec.keep_alive_s if wish_s is None else wish_s
        self.idle_since_s = self.wake_at_s = None
        self.unplaced = None
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

    def _look(self) -> FileStamp | None:
        self.stamp = self._effects.stamp(self.spec.path)
        return self.stamp

    @property
    def reason(self) -> str | None:
        """Why it does not run, for people; None while nothing is wrong."""
        if self.spec.broken is not None:
            return f"broken: {self.spec.broken}"
        if self.unplaced is not None and not self.has_process:
            return self.unplaced.message
        return None if self.state is RunnerState.READY else self.history.reason(self._runners)

    @property
    def quarantined_until_s(self) -> float | None:
        return self.history.quarantined_until_s(self._runners) if self.state is RunnerState.FAILED else None
