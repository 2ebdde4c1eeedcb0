"""The governor's words: what it is told of the board, what it decides, and what the operator may choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from appliance.hardware.power import PowerReading
from appliance.hardware.thermal_zones import ThermalReading


class CoolingState(StrEnum):
    """How far the measures go. Each state has those of the states before it, too."""

    NORMAL = "normal"
    """No limit."""
    PACED = "paced"
    """A smaller batch, then pauses between steps; both continuous, so that nothing flaps."""
    HOLDING = "holding"
    """Background work waits, and a smaller sibling answers where the operator allows that."""
    CLOSED = "closed"
    """No new requests. Those that run go on."""

    @property
    def level(self) -> int:
        return _ORDER.index(self)

    @classmethod
    def of_level(cls, level: int) -> CoolingState:
        return _ORDER[level]


_ORDER = tuple(CoolingState)


class Cause(StrEnum):
    """Why, in one word."""

    OK = "ok"
    HOT = "hot"
    UNDERVOLTAGE = "undervoltage"
    OVERCURRENT = "overcurrent"
    """More current or power than the supply, the board or the operator allows."""
    SENSOR_FAULT = "sensor_fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPolicy:
    """What the operator decides, and the one thing of the board that its sensors do not tell."""

    power_budget_watts: float | None = None
    """None: as much as the board takes."""
    least_margin_celsius: float = 1.0
    """So far below a limit it stays at least; more where the sensor is noisy."""
    prefers_sibling: bool = False
    is_raspberry_pi: bool = False
    """Its firmware throttles at 80 °C, which no trip point tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the board."""

    at_s: float
    """Monotonic; looks come in order."""
    thermal: ThermalReading
    power: PowerReading
    is_busy: bool | None = None
    """Whether a model computes; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What the runners and the supervisor are told, in the order of the measures."""

    token_budget: int | None = None
    """Most tokens of a step; None: no bound of ours."""
    duty: float = 1.0
    """Share of the time that a runner may compute; the rest it sleeps between steps."""
    hold_background: bool = False
    prefer_sibling: bool = False
    admit: bool = True
    retry_after_s: float = 0.0
    """When `admit` is False: for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneMargin:
    """One sensor and its distance to the limit that counts for it."""

    name: str
    temperature_celsius: float | None
    """None: it cannot be read, or is not believed."""
    limit_celsius: float
    fault: str | None = None
    """Why it is not believed."""

    @property
    def margin_celsius(self) -> float | None:
        if self.temperature_celsius is None:
            return None
        return self.limit_celsius - self.temperature_celsius


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """What the governor decided, and why: also the frozen status for health and metrics."""

    state: CoolingState = CoolingState.NORMAL
    cause: Cause = Cause.OK
    reason: str = "no sensors"
    """In words, with numbers."""
    limits: EngineLimits = field(default_factory=EngineLimits)
    zones: tuple[ZoneMargin, ...] = ()
    margin_celsius: float | None = None
    """Of the zone that is nearest to its limit; None: no zone can be read."""
    slope_celsius_per_s: float | None = None
    """How that zone's temperature changes."""
    input_watts: float | None = None
    is_throttled: bool | None = None
    """By the kernel or the firmware, now; None: the board does not tell."""
    is_under_voltage: bool | None = None
    changes: int = 0
    """Of the state, since the start."""
    next_look_s: float = 1.0
    """How soon the governor wants to look again."""
