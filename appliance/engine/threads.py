"""How many compute threads to use while others use the machine: a pure decision on measured contention.

llama.cpp's threads meet at a barrier after every operation and spin there. When another process takes one of
their cores, every operation waits for the thread that was put aside (measured on two cores: 20-50 ms a token
with two threads, 12 ms with one). So:

    1. Our threads got at least a third of a core less than the wall clock offered: one thread fewer.
    2. The board had most of a core idle beside those we computed on: one thread more, but the more often that
       turned out wrong, the longer we wait before trying again.
    3. We were at rest and so were the others: all threads again. That others were busy while we rested says
       little (a client that starts, a server that just ended): they may be gone when we begin.
    4. We begin after a rest: threads for the cores that others leave in one of the next moments. Otherwise
       the first prompt would be computed at the pace of the thread that is put aside.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOST_CORES = 0.33
_IDLE_CORES = 0.65
_ACTIVE = 0.85
_MOSTLY = 0.5
_RESTING = 0.2
_ROUND_UP = 0.45
"""Added to the idle cores before they are counted: half a busy core is no reason yet."""
_WINDOWS_IN_A_ROW = 2
"""A single bad window may be a burst of clients."""
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_ENOUGH_CORES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters since some start, all in seconds."""

    wall_s: float
    computing_s: float
    """Wall time inside decode."""
    cpu_s: float
    """CPU time of this process, all threads; in a window full of computing, nearly all of it is decode."""
    idle_s: float | None
    """Idle time summed over the cores we may use; None: the board does not tell."""


def choose_threads(*, usable_cores: int, big_cores: int, all_cores: int) -> int:
    """Compute threads for a quiet board: one per big core, with room for the daemon.

    `usable_cores`: what the cgroups allow of the big ones. LITTLE cores take no part in the compute (every
    operation would wait for them): they are the daemon's room. Where all cores are alike, one of four or more
    is left to it; two or three are too few to give one away, there the governor acts on contention.
    """
    if big_cores == all_cores and usable_cores >= _ENOUGH_CORES:
        return usable_cores - 1
    return max(1, usable_cores)


class ThreadGovernor:
    """Owned by the engine's thread. `update` is called between steps with rising counters."""

    WINDOW_S = 0.2
    """Readings closer than this to the last one are not judged."""

    def __init__(self, most: int) -> None:
        self.threads = self.most = most
        self._last: Reading | None = None
        self._wait_s = _FIRST_WAIT_S
        self._raised_at_s: float | None = None
        self._not_before_s = 0.0
        self._contended = 0

    def update(self, now: Reading) -> int:
        """The number of threads for the next step, 1 to `most`."""
        if self._last is None:
            self._last = now
        last = self._last
        wall_s = now.wall_s - last.wall_s
        if wall_s < 0.99 * self.WINDOW_S or self.most == 1:
            return self.threads
        self._last = now
        computing_s = now.computing_s - last.computing_s
        idle_cores = 0.0 if now.idle_s is None or last.idle_s is None else (now.idle_s - last.idle_s) / wall_s
        if computing_s < _RESTING * wall_s and now.idle_s is not None:
            self._contended = 0
            if idle_cores + _ROUND_UP >= self.most:
                self.threads = self.most  # 3
            return self.threads
        own_cores = (now.cpu_s - last.cpu_s) / wall_s
        # What others leave. Our own threads count as used by nobody: some of them poll, some wait for others.
        free_cores = idle_cores + own_cores
        if computing_s >= _ACTIVE * wall_s:  # else the window says nothing about contention
            lost_cores = self.threads - (now.cpu_s - last.cpu_s) / computing_s
            self._contended = self._contended + 1 if lost_cores >= _LOST_CORES else 0
        if self.threads > 1 and self._contended >= _WINDOWS_IN_A_ROW:
            self._lower(now.wall_s)  # 1
        elif (
            self.threads < self.most
            and computing_s >= _MOSTLY * wall_s
            and free_cores >= self.threads + _IDLE_CORES
            and now.wall_s >= self._not_before_s
        ):
            self.threads += 1  # 2
            self._raised_at_s = now.wall_s
        return self.threads

    def begin(self, now_s: float, *, free_cores: int) -> int:
        """Before the first step after a rest. `free_cores`: the most that others left in some moments."""
        threads = max(1, min(self.most, free_cores))  # 4
        if threads < self.threads:
            self._not_before_s = now_s + self.WINDOW_S
        self.threads = threads
        self._contended = 0
        return threads

    def _lower(self, now_s: float) -> None:
        self.threads -= 1
        self._contended = 0
        soon = self._raised_at_s is not None and now_s - self._raised_at_s < 2 * self._wait_s
        self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s) if soon else _FIRST_WAIT_S
        self._not_before_s = now_s + self._wait_s
