"""The thread that looks after the store while nobody asks: it scrubs, collects what no model needs, and makes
models faster where that is wanted.

It runs at the lowest priority and reads only when the disk has nothing else to do. What an unclean stop has
left in doubt it checks first, and at full speed: those models are not served before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from appliance import log
from appliance.daemon.idle_priority import take_idle_priority
from appliance.errors import MachineBusy, OutpostError, ShuttingDown
from appliance.store.scrub import ScrubReport
from appliance.store.verbs import Collected

_log = log.logger("upkeep")

STEP_S: Final = 5.0
"""Between two pieces of a round; each is as large as the configured rate allows in that time."""
SETTLE_S: Final = 600.0
"""What came in this time before a power cut is hashed again at its next use."""
RETRY_S: Final = 600.0
"""After a fault of the disk."""
OPTIMIZE_S: Final = 60.0
"""After the start, a change of the models, and the last model that was made faster."""
_JOIN_S: Final = 10.0


class Kept(Protocol):
    """What is looked after (`store.ModelStore`)."""

    def scrub_step(self, budget_bytes: int) -> ScrubReport: ...

    def scrub_age_s(self) -> float | None:
        """Since the last full round; None: one is under way, or there was none."""

    def gc(self) -> Collected: ...

    def settle(self) -> None:
        """Make durable what is known of the blobs; cheap, and nothing is written without news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepPolicy:
    scrub_interval_s: float
    """0: never."""
    scrub_bytes_per_s: int
    gc_interval_s: float
    """0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """When what is due, on the monotonic clock; None: never."""

    scrub_at_s: float | None
    gc_at_s: float | None
    settle_at_s: float
    optimize_at_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        times = [
            at
            for at in (self.scrub_at_s, self.gc_at_s, self.settle_at_s, self.optimize_at_s)
            if at is not None
        ]
        return max(0.0, min(times) - now_s)


def first_agenda(policy: UpkeepPolicy, *, now_s: float, scrub_age_s: float | None) -> Agenda:
    """A round that was broken off goes on soon; one that is fresh waits for its turn."""
    left_s = 0.0 if scrub_age_s is None else policy.scrub_interval_s - scrub_age_s
    return Agenda(
        scrub_at_s=now_s + max(STEP_S, left_s) if policy.scrub_interval_s else None,
        gc_at_s=now_s + policy.gc_interval_s if policy.gc_interval_s else None,
        settle_at_s=now_s + SETTLE_S,
    )


class Clock:
    """Time, as the thread knows it."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: Callable[[], bool], timeout_s: float) -> None:
        """The condition is held."""
        condition.wait_for(until, timeout_s)


class Upkeep:
    """`start`, `stop` and `released` from any thread; all else happens on the thread `upkeep`."""

    def __init__(
        self,
        kept: Kept,
        policy: UpkeepPolicy,
        *,
        begin: Callable[[], None],
        on_broken: Callable[[], None],
        optimize: Callable[[], bool] | None = None,
        settle: Callable[[], None] = lambda: None,
        clock: Clock = Clock(),  # noqa: B008 - stateless
    ) -> None:
        """`begin` and `on_broken` are called on the thread and may raise OutpostError. `begin`: once, before
        all else. `optimize`: make one model faster, which takes minutes; whether there was one. None: it
        is not wanted. `settle`: keep what others have learned; as `Kept.settle`.
        """
        self._kept = kept
        self._policy = policy
        self._begin = begin
        self._on_broken = on_broken
        self._optimize = optimize
        self._settle = settle
        self._clock = clock
        self._is_stopping = False
        self._is_released = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the piece at hand is done; bounded by the time of one piece."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        self._thread.join(_JOIN_S)

    def released(self) -> None:
        """A name is gone or stands for something else: its bytes are collected soon."""
        with self._wake:
            self._is_released = True
            self._wake.notify()

    # ── the thread ─────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        agenda = self._first()
        while not self._is_stopping:
            try:
                agenda = self._turn(agenda)
            except OutpostError as error:
                _log.error("upkeep_failed", error=type(error).__name__, reason=error.message)
                agenda = self._later(agenda)
            except Exception:  # noqa: BLE001  # thread top: the next turn may go well
                _log.exception("upkeep_fault")
                agenda = self._later(agenda)

    def _first(self) -> Agenda:
        try:
            self._begin()
        except ShuttingDown:
            pass  # the next start goes on with what is in doubt
        except OutpostError as error:
            _log.error("upkeep_failed", error=type(error).__name__, reason=error.message)
        take_idle_priority()
        age_s = self._kept.scrub_age_s()
        agenda = first_agenda(self._policy, now_s=self._clock.now_s(), scrub_age_s=age_s)
        return replace(agenda, optimize_at_s=self._soon())

    def _turn(self, agenda: Agenda) -> Agenda:
        with self._wake:
            left_s = agenda.wait_s(self._clock.now_s())
            self._clock.wait(self._wake, lambda: self._is_stopping or self._is_released, left_s)
            is_released, self._is_released = self._is_released, False
        if self._is_stopping:
            return agenda
        now_s = self._clock.now_s()
        if is_released:
            agenda = replace(agenda, optimize_at_s=self._soon())
        if agenda.gc_at_s is not None and (is_released or now_s >= agenda.gc_at_s):
            self._collect()
            return replace(agenda, gc_at_s=now_s + self._policy.gc_interval_s)
        if agenda.scrub_at_s is not None and now_s >= agenda.scrub_at_s:
            return replace(agenda, scrub_at_s=now_s + self._scrub())
        if agenda.optimize_at_s is not None and now_s >= agenda.optimize_at_s:
            return replace(agenda, optimize_at_s=self._optimized())
        if now_s >= agenda.settle_at_s:
            self._settle()
            self._kept.settle()
            return replace(agenda, settle_at_s=now_s + SETTLE_S)
        return agenda

    def _later(self, agenda: Agenda) -> Agenda:
        """A faulty disk is not asked again at once, whatever was due."""
        at_s = self._clock.now_s() + RETRY_S
        return Agenda(
            scrub_at_s=None if agenda.scrub_at_s is None else max(agenda.scrub_at_s, at_s),
            gc_at_s=None if agenda.gc_at_s is None else max(agenda.gc_at_s, at_s),
            settle_at_s=max(agenda.settle_at_s, at_s),
            optimize_at_s=None if agenda.optimize_at_s is None else max(agenda.optimize_at_s, at_s),
        )

    def _soon(self) -> float | None:
        return None if self._optimize is None else self._clock.now_s() + OPTIMIZE_S

    def _optimized(self) -> float | None:
        """One model. When the next has its turn; None: not before the models change."""
        assert self._optimize is not None
        try:
            return self._soon() if self._optimize() else None
        except MachineBusy as busy:
            return self._clock.now_s() + busy.retry_after_s
        except ShuttingDown:
            return None

    def _collect(self) -> None:
        freed = self._kept.gc()
        if freed.withheld:
            _log.warning("store_collection_withheld", unreadable=list(freed.withheld))
        if freed.blobs:
            _log.info("store_collected", blobs=freed.blobs, size_bytes=freed.size_bytes)

    def _scrub(self) -> float:
        """One piece; returns the seconds to the next."""
        report = self._kept.scrub_step(int(self._policy.scrub_bytes_per_s * STEP_S))
        for broken in report.broken:
            models = [reference.display for reference in broken.models]
            _log.error("blob_broken", digest=broken.digest, reason=broken.reason, models=models)
        if report.broken:
            self._on_broken()
        return self._policy.scrub_interval_s if report.round_finished else STEP_S
