"""Measuring steps: counters for `/metrics`, step times, and what the thread governor decides on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from appliance.engine.threads import Reading, ThreadGovernor
from appliance.wire.messages import EngineStats

_RECENT_STEPS = 128
_REST_S = 0.05
"""After a pause this long between decodes, the board is looked at before the first one."""
_GLANCES = 8
_GLANCE_S = 0.002
"""A neighbour that computes is seen in all of the glances; a client that just asked soon waits for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardView:
    """What the meter sees of the machine."""

    idle_s: Callable[[], float | None]
    """Idle time summed over the cores we may use; None: the board does not tell."""
    rss_bytes: Callable[[], int]
    others_running: Callable[[], int | None] = lambda: None
    """Threads of the whole machine that compute now, the caller left out; None: the board does not tell."""
    n_cores: int = 1
    """The cores that they and we have."""


class Meter:
    """Owned by the engine's thread."""

    def __init__(
        self,
        *,
        n_threads: int,
        adapt: bool,
        board: BoardView,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`cpu_clock`: CPU time of this process, all threads."""
        self._governor = ThreadGovernor(n_threads) if adapt else None
        self._threads = n_threads
        self._board = board
        self._sleep = sleep
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._computing_s = 0.0
        self._looked_at_s = 0.0
        self._ended_s = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generated_tokens = 0
        self.draft_tokens = 0
        self.draft_accepted_tokens = 0

    def threads(self) -> int:
        """Threads for the next step."""
        return self._threads

    def begin(self) -> float:
        """For `end`, before a decode."""
        now_s = self._clock()
        if now_s - self._ended_s < _REST_S:
            return now_s
        self._look(now_s)
        self._glance(now_s)
        return self._clock()  # a paced engine glances before each step: that is no part of what steps cost

    def end(self, begun_s: float, *, is_step: bool = True) -> float:
        """Seconds since `begin`. `is_step` False: a part of one (drafting), not reported among the steps."""
        now_s = self._clock()
        seconds = now_s - begun_s
        self._computing_s += seconds
        if is_step:
            self._recent.append(seconds)
        self._ended_s = now_s
        if now_s - self._looked_at_s >= ThreadGovernor.WINDOW_S:
            self._look(now_s)
        return seconds

    def _look(self, now_s: float) -> None:
        if self._governor is not None:
            self._looked_at_s = now_s
            self._threads = self._governor.update(self._reading(now_s))

    def _glance(self, now_s: float) -> None:
        """Who else computes as we begin? On a quiet board one reading answers it, without a sleep."""
        governor = self._governor
        if governor is None or governor.most == 1:
            return
        free_cores = 0
        for glance in range(_GLANCES):
            if glance:
                self._sleep(_GLANCE_S)
            others = self._board.others_running()
            if others is None:
                return
            free_cores = max(free_cores, self._board.n_cores - others)
            if free_cores >= governor.most:
                break
        self._threads = governor.begin(now_s, free_cores=free_cores)

    def _reading(self, now_s: float) -> Reading:
        # PERF: a process's CPU clock costs 80 us (it sums over threads): read once a window, not a step.
        return Reading(
            wall_s=now_s, computing_s=self._computing_s, cpu_s=self._cpu_clock(), idle_s=self._board.idle_s()
        )

    def stats(
        self,
        *,
        running: int,
        waiting: int,
        steps: int,
        kv_cells_used: int,
        kv_cells: int,
        prefixes: int,
    ) -> EngineStats:
        if self._clock() - self._ended_s >= _REST_S:
            self._look(self._clock())  # heartbeats at rest keep the view of the board fresh
        return EngineStats(
            running=running,
            waiting=waiting,
            steps=steps,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            generated_tokens=self.generated_tokens,
            draft_tokens=self.draft_tokens,
            draft_accepted_tokens=self.draft_accepted_tokens,
            kv_cells_used=kv_cells_used,
            kv_cells=kv_cells,
            prefixes=prefixes,
            n_threads=self._threads,
            computing_s=self._computing_s,
            step_s_p50=median(self._recent) if self._recent else 0.0,
            step_s_max=max(self._recent, default=0.0),
            rss_bytes=self._board.rss_bytes(),
        )
