"""What the zones tell over time: a smoothed margin and its slope for each, and which are not to be believed.

A sensor is at fault when it

    1. was read before and cannot be read any more (for `_GRACE_S`), unless it is one that may sleep;
    2. tells what no chip has, or falls to 0 °C and below from a temperature of use: a lost bus reads as
       zero;
    3. stays at the very same value for `_FROZEN_S` although it moved before, while its neighbours move by
       `_NEIGHBOURS_MOVE_K`; or, where it has no neighbours, while work begins and ends.

A fault is no temperature: neither zero nor the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.hardware.thermal_zones import Zone
from appliance.thermal import limits
from appliance.thermal.values import Look, ZoneMargin

_GRACE_S = 5.0
_FROZEN_S = 120.0
_NEIGHBOURS_MOVE_K = 8.0
_ENOUGH_WORK_S = 40.0
_POSSIBLE_CELSIUS = (-40.0, 150.0)
_IN_USE_CELSIUS = 15.0
_SMOOTH_S = 2.0
"""Time constant of the margin's filter: a step of the engine, and a sensor of whole degrees."""
_SLOPE_SMOOTH_S = 4.0
_STALE_S = 10.0
"""After a gap this long between looks (a suspended board), the past says nothing of the slope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The zone whose margin will be the smallest."""

    name: str
    margin_celsius: float
    """Smoothed."""
    raw_margin_celsius: float
    slope_celsius_per_s: float
    """Of the temperature."""

    def ahead_celsius(self, horizon_s: float) -> float:
        """The margin `horizon_s` from now, if it goes on like this."""
        return self.margin_celsius - self.slope_celsius_per_s * horizon_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    zones: tuple[ZoneMargin, ...]
    nearest: Nearest | None
    faults: tuple[str, ...]


class Sensors:
    """Owned by the governor."""

    def __init__(self, *, is_raspberry_pi: bool, horizon_s: float) -> None:
        self._is_raspberry_pi = is_raspberry_pi
        self._horizon_s = horizon_s
        self._watches: dict[str, _Watch] = {}

    def update(self, look: Look) -> Sensed:
        zones = _named([zone for zone in look.thermal.zones if limits.counts(zone)])
        for name, zone in zones.items():
            limit = limits.limit_celsius(zone, list(zones.values()), is_raspberry_pi=self._is_raspberry_pi)
            watch = self._watches.setdefault(name, _Watch(name, may_sleep=limits.may_sleep(zone)))
            watch.limit_celsius = limit
        values = {name: zone.temperature_celsius for name, zone in zones.items()}
        for name, watch in self._watches.items():
            watch.see(values.get(name), look.at_s, others=_mean_of_others(values, name), busy=look.is_busy)
        watches = list(self._watches.values())
        return Sensed(
            zones=tuple(watch.shown() for watch in watches),
            nearest=self._nearest(watches),
            faults=tuple(f"{watch.name}: {watch.fault}" for watch in watches if watch.fault),
        )

    def _nearest(self, watches: Sequence[_Watch]) -> Nearest | None:
        readable = [nearest for watch in watches if (nearest := watch.nearest()) is not None]
        return min(readable, key=lambda one: one.ahead_celsius(self._horizon_s), default=None)


def _named(zones: Sequence[Zone]) -> dict[str, Zone]:
    """By name; several of one name (two sockets) are numbered in their order."""
    named: dict[str, Zone] = {}
    for zone in zones:
        count = sum(one.name == zone.name for one in named.values())
        named[zone.name if not count else f"{zone.name}#{count + 1}"] = zone
    return named


def _mean_of_others(values: dict[str, float | None], name: str) -> float | None:
    others = [value for other, value in values.items() if other != name and value is not None]
    return sum(others) / len(others) if others else None


class _Watch:
    """One zone over time."""

    def __init__(self, name: str, *, may_sleep: bool) -> None:
        self.name = name
        self.limit_celsius = math.inf
        self.fault: str | None = None
        self._may_sleep = may_sleep
        self._value: float | None = None
        self._seen_at_s: float | None = None
        """When it was last believed."""
        self._smooth = 0.0
        self._slope = 0.0
        self._has_moved = False
        self._stillness = _Stillness(0.0)

    def see(self, value: float | None, at_s: float, *, others: float | None, busy: bool | None) -> None:
        wrong = None if value is None else self._implausible(value)
        if value is None or wrong is not None:
            self._miss(at_s, wrong)
            return
        self.fault = None
        gap_s = _STALE_S if self._seen_at_s is None else at_s - self._seen_at_s
        if gap_s >= _STALE_S:
            self._smooth, self._slope = value, 0.0
        elif gap_s > 0:
            self._follow(value, gap_s)
        if value != self._value:
            self._has_moved = self._has_moved or self._value is not None
            self._stillness = _Stillness(at_s)
        self._stillness.see(at_s, others=others, busy=busy)
        self._value, self._seen_at_s = value, at_s
        self.fault = self._stillness.verdict(at_s, has_moved=self._has_moved)  # 3

    def nearest(self) -> Nearest | None:
        if self._value is None or self.fault is not None or self.limit_celsius == math.inf:
            return None
        return Nearest(
            name=self.name,
            margin_celsius=self.limit_celsius - self._smooth,
            raw_margin_celsius=self.limit_celsius - self._value,
            slope_celsius_per_s=self._slope,
        )

    def shown(self) -> ZoneMargin:
        return ZoneMargin(
            name=self.name,
            temperature_celsius=None if self.fault else self._value,
            limit_celsius=self.limit_celsius,
            fault=self.fault,
        )

    def _follow(self, value: float, gap_s: float) -> None:
        before = self._smooth
        self._smooth += (value - before) * (1 - math.exp(-gap_s / _SMOOTH_S))
        slope = (self._smooth - before) / gap_s
        self._slope += (slope - self._slope) * (1 - math.exp(-gap_s / _SLOPE_SMOOTH_S))

    def _implausible(self, value: float) -> str | None:
        low, high = _POSSIBLE_CELSIUS
        if not low <= value <= high:
            return f"reads {value:.0f} °C, which no chip has"  # 2
        if value <= 0 and self._smooth >= _IN_USE_CELSIUS and self._seen_at_s is not None:
            return f"fell from {self._smooth:.0f} °C to {value:.0f} °C"  # 2
        return None

    def _miss(self, at_s: float, wrong: str | None) -> None:
        """For `_GRACE_S` the last value still counts."""
        if self._seen_at_s is None or at_s - self._seen_at_s < _GRACE_S:
            return
        self._value = None
        if wrong is not None:
            self.fault = wrong
        elif not self._may_sleep:
            self.fault = "cannot be read any more"  # 1


class _Stillness:
    """What happened around a sensor since its value last changed."""

    def __init__(self, since_s: float) -> None:
        self._since_s = since_s
        self._at_s = since_s
        self._low = math.inf
        self._high = -math.inf
        self._busy_s = 0.0
        self._idle_s = 0.0

    def see(self, at_s: float, *, others: float | None, busy: bool | None) -> None:
        if others is not None:
            self._low, self._high = min(self._low, others), max(self._high, others)
        if busy:
            self._busy_s += at_s - self._at_s
        elif busy is not None:
            self._idle_s += at_s - self._at_s
        self._at_s = at_s

    def verdict(self, at_s: float, *, has_moved: bool) -> str | None:
        still_s = at_s - self._since_s
        if still_s < _FROZEN_S:
            return None
        is_alone = self._low == math.inf
        if is_alone and min(self._busy_s, self._idle_s) >= _ENOUGH_WORK_S:
            return f"has told the same for {still_s:.0f} s, with and without work"
        moved = 0.0 if is_alone else self._high - self._low
        if has_moved and moved >= _NEIGHBOURS_MOVE_K:
            return f"has told the same for {still_s:.0f} s while its neighbours moved by {moved:.0f} K"
        return None
