"""The baselines of all models: kept beyond the lives of runners, and of the daemon (`learned_speeds.py`), so
that a slow one is compared with the fast one before it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from appliance.log import logger
from appliance.supervisor.baseline import Baseline, Change, Observation, Usual

_log = logger("supervisor")

_MOST: Final = 256
"""Baselines; that of the model which was asked longest ago goes first."""

Key = tuple[str, ...]
"""What a baseline is of: the model's file and its placement."""


class SpeedWatch:
    """Any thread."""

    def __init__(self, recall: Callable[[], Mapping[Key, Usual]] = dict) -> None:
        """`recall`: what was usual before; asked once, when it is first needed."""
        self._lock = threading.Lock()
        self._recall = recall
        self._baselines: OrderedDict[Key, Baseline] | None = None

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
            if self._baselines is None or key not in self._baselines:
                return None
            return self._baselines[key].reason

    def known(self) -> Mapping[Key, Usual] | None:
        """By baseline, that of the model which was asked longest ago first; None: nothing recalled yet."""
        with self._lock:
            if self._baselines is None:
                return None
            return {key: baseline.known() for key, baseline in self._baselines.items()}

    def _of(self, key: Key) -> Baseline:
        if self._baselines is None:
            self._baselines = OrderedDict((old, Baseline(usual)) for old, usual in self._recall().items())
        baseline = self._baselines.setdefault(key, Baseline())
        self._baselines.move_to_end(key)
        if len(self._baselines) > _MOST:
            self._baselines.popitem(last=False)
        return baseline
