"""Joules of a piece of work, where a sensor of the board tells them. Never an estimate."""

from __future__ import annotations

import time
from typing import Final

from appliance.hardware import power
from appliance.hardware.power import PowerReading
from appliance.hardware.root import Root
from appliance.thermal.energy import joules_between

_EVERY_S: Final = 0.2
"""Sensors average over up to 100 ms."""
_LEAST_S: Final = 0.3
_WORK_SHARE: Final = 0.8
"""Of the time between two looks: else loading is in the figure, too."""


class PieceMeter:
    """Owned by the thread that measures."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._last: PowerReading | None = None
        self._began_s = self._at_s = 0.0
        self._joules: float | None = None
        self.missing = _missing(power.read(root))
        """Why nothing can be told; None: it can."""

    def begin(self) -> None:
        if self.missing is None:
            self._last = power.read(self._root)
            self._began_s = self._at_s = time.monotonic()
            self._joules = 0.0

    def look(self) -> None:
        """As often as one likes."""
        now_s = time.monotonic()
        if self._last is not None and now_s - self._at_s >= _EVERY_S:
            self._add(now_s)

    def end(self, work_s: float) -> float | None:
        """Of the whole piece; None: it was too short, or nobody tells."""
        if self._last is None:
            return None
        now_s = time.monotonic()
        self._add(now_s)
        self._last = None
        whole_s = now_s - self._began_s
        if self._joules is None or work_s < _LEAST_S or work_s < _WORK_SHARE * whole_s:
            return None
        return self._joules

    def _add(self, now_s: float) -> None:
        assert self._last is not None
        reading = power.read(self._root)
        joules = joules_between(self._last, reading, now_s - self._at_s)
        self._joules = None if joules is None or self._joules is None else self._joules + joules
        self._last, self._at_s = reading, now_s


def _missing(reading: PowerReading) -> str | None:
    if reading.input_watts is not None or reading.energy_joules is not None:
        return None
    counter = reading.reasons.get("energy_joules", "no counter")
    return f"no rail of this board tells what it draws ({reading.missing}; {counter})"
