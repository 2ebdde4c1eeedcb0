"""What the health report tells of heat and power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from appliance.thermal.values import Cooling, ZoneMargin


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneHealth:
    name: str
    temperature_celsius: float | None
    """None: it cannot be read, or is not believed."""
    limit_celsius: float
    fault: str | None

    @classmethod
    def of(cls, zone: ZoneMargin) -> Self:
        return cls(
            name=zone.name,
            temperature_celsius=zone.temperature_celsius,
            limit_celsius=zone.limit_celsius,
            fault=zone.fault,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingHealth:
    """The governor's last decision. None: the board does not tell, or nothing is limited."""

    state: str
    """normal | paced | holding | closed"""
    cause: str
    """ok | hot | undervoltage | overcurrent | sensor_fault"""
    reason: str
    margin_celsius: float | None
    """Of the zone nearest to its limit."""
    slope_celsius_per_s: float | None
    duty: float
    """Share of the time that models may compute."""
    token_budget: int | None
    admits: bool
    holds_background: bool
    prefers_sibling: bool
    zones: tuple[ZoneHealth, ...]
    input_watts: float | None
    is_throttled: bool | None
    is_under_voltage: bool | None
    changes: int
    """Of the state, since the start."""
    looks: int
    look_cpu_s: float
    """CPU time of all looks."""

    @classmethod
    def of(cls, cooling: Cooling, *, looks: int = 0, cpu_s: float = 0.0) -> Self:
        limits = cooling.limits
        return cls(
            state=cooling.state.value,
            cause=cooling.cause.value,
            reason=cooling.reason,
            margin_celsius=_rounded(cooling.margin_celsius, 2),
            slope_celsius_per_s=_rounded(cooling.slope_celsius_per_s, 4),
            duty=round(limits.duty, 3),
            token_budget=limits.token_budget,
            admits=limits.admit,
            holds_background=limits.hold_background,
            prefers_sibling=limits.prefer_sibling,
            zones=tuple(ZoneHealth.of(zone) for zone in cooling.zones),
            input_watts=_rounded(cooling.input_watts, 3),
            is_throttled=cooling.is_throttled,
            is_under_voltage=cooling.is_under_voltage,
            changes=cooling.changes,
            looks=looks,
            look_cpu_s=round(cpu_s, 4),
        )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
