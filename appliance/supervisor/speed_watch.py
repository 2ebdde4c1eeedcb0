"""The baselines of all models: kept beyond the lives of runners, so that a slow one is compared with the fast
one before it. They are learned anew when the daemon starts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from appliance.log import logger
from appliance.supervisor.baseline import Baseline, Change, Observation

_log = logger("supervisor")

_MOST: Final = 256
"""Baselines; that of the model which was asked longest ago goes first."""

Key = tuple[str, ...]
"""What a baseline is of: the model's file and its placement."""


class SpeedWatch:
    """Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._baselines: OrderedDict[Key, Baseline] = OrderedDict()

    def observe(self, key: Key, seen: Iterable[Observation], *, runner: str) -> None:
        """`runner`: the model's name, for the journal."""
        for one in seen:
            with self._lock:
                baseline = self._of(key)
                change, reason = baseline.observe(one), baseline.reason
            if change is Change.DEGRADED:
                _log.warning("runner_degraded", runner=runner, reason=reason)
            elif change is Change.RECOVERED:
                _log.info("runner_recovered", runner=runner, steps_per_s=round(one.steps_per_s, 2))

    def degraded(self, key: Key) -> str | None:
        """Why it is slow; None: it is not."""
        with self._lock:
            baseline = self._baselines.get(key)
            return None if baseline is None else baseline.reason

    def _of(self, key: Key) -> Baseline:
        baseline = self._baselines.setdefault(key, Baseline())
        self._baselines.move_to_end(key)
        if len(self._baselines) > _MOST:
            self._baselines.popitem(last=False)
        return baseline
