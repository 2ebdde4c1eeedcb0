"""What the daemon knows and does about memory: plans of this board, and the watch over what is free."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from appliance.config import Config
from appliance.daemon.accelerators import accelerator_of, board_gpu, llama_libraries
from appliance.daemon.plans import BoardPlans, PlanPolicy, whole_bytes
from appliance.daemon.policies import runner_policy
from appliance.hardware import cgroup, meminfo, memory, pressure
from appliance.hardware.cgroup import MemoryLimit
from appliance.hardware.reclaim import reclaim
from appliance.hardware.root import Root
from appliance.planner.budget import reserve
from appliance.planner.prices import PriceTable
from appliance.supervisor.learned_sizes import LearnedSizes
from appliance.supervisor.pressure import MemoryLook, MemoryWatch
from appliance.supervisor.size_cache import SizeCache
from appliance.supervisor.sizer import Sizer

PLANS_FOLDER: Final = "plans"
"""In the data directory: what was measured of models, and what loads took. May be removed at any time."""
_LOOKS_PER_LIMIT: Final = 3
_FLOOR_SHARE: Final = 0.5
"""Of the reserve: plans keep out of it, so when half of it is gone, others took it."""


class BoardMemory:
    """Owned by the daemon's main thread; its `plans` are the supervisor's to ask."""

    def __init__(
        self,
        config: Config,
        *,
        sysroot: Path,
        prices: Callable[[Sequence[str], PriceTable], PriceTable] = lambda _paths, common: common,
    ) -> None:
        """`prices`: what was measured of a model here, over the common ones."""
        self._root = Root(sysroot)
        directory = config.data.dir / PLANS_FOLDER
        self._sizer = Sizer(runner_policy(config), SizeCache(directory / "sizes"))
        self._config = config
        self.plans = BoardPlans(
            self._sizer,
            policy=PlanPolicy(
                reserve_bytes=config.memory.reserve_bytes,
                min_ctx=config.memory.min_ctx,
                comfortable=config.memory.comfortable_slots,
                parallel_share=config.memory.parallel_share,
                own_kernels=config.engine.own_kernels,
                accelerator=accelerator_of(board_gpu(self._root), llama_libraries()),
            ),
            read_memory=lambda: memory.read(self._root),
            reclaim=lambda: reclaim(sysroot),
            learned=LearnedSizes(directory / "learned.json", board=platform.machine()),
            prices=prices,
        )
        self._watch: MemoryWatch | None = None
        self._looks = 0
        self._limit: MemoryLimit | None = None
        """As of one of the last looks; both are the watch's own."""

    def start(self, relieve: Callable[[], None]) -> None:
        """Begin to watch; `relieve` must not block."""
        self._watch = MemoryWatch(self._look, floor_bytes=self._floor_bytes(), relieve=relieve)
        self._watch.start()

    def close(self) -> None:
        self._sizer.close()
        if self._watch is not None:
            self._watch.close()

    def _floor_bytes(self) -> int:
        total_bytes = whole_bytes(memory.read(self._root)) or 0
        return int((self._config.memory.reserve_bytes or reserve(total_bytes)) * _FLOOR_SHARE)

    def _look(self) -> MemoryLook:
        """PERF: some times a second for as long as the daemon runs: two small files, and the many of the
        cgroups once a second.
        """
        if self._looks % _LOOKS_PER_LIMIT == 0:
            self._limit = cgroup.read_memory_limit(self._root)
        self._looks += 1
        available_bytes = meminfo.read(self._root).available_bytes
        rooms = [available_bytes, None if self._limit is None else self._limit.room_bytes]
        seen = pressure.read(self._root)
        return MemoryLook(
            room_bytes=min((room for room in rooms if room is not None), default=None),
            stalled_s=seen.some_total_s if isinstance(seen, pressure.Pressure) else None,
        )
