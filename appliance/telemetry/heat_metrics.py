"""What the health report tells of heat and power, as samples for `/metrics`. What is not known has no
series.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from appliance.health.cooling import CoolingHealth
from appliance.telemetry.families import Family, Sample
from appliance.telemetry.model_labels import MOST_MODELS
from appliance.thermal.values import Cause, CoolingState

_MOST_ZONES: Final = 64
_MOST_NAME: Final = 40
"""Characters: the kernel's names have 20."""

_STATE: Final = Family("cooling_state", "1 for how far the measures against heat go.", labels=("state",))
_CAUSE: Final = Family("cooling_cause", "1 for their cause.", labels=("cause",))
_TEMPERATURE: Final = Family("zone_temperature_celsius", "As read now.", labels=("zone",))
_LIMIT: Final = Family(
    "zone_limit_celsius", "Where throttling begins, or is taken to begin.", labels=("zone",)
)
_FAULT: Final = Family("zone_fault", "1 while the sensor is not believed.", labels=("zone",))
_JOULES: Final = Family(
    "model_energy_joules_total",
    "What the board used while the model computed, measured.",
    "counter",
    ("model",),
)
_TOKENS: Final = Family("model_energy_tokens_total", "Tokens generated with it.", "counter", ("model",))
_VALUES: Final[tuple[tuple[Family, Callable[[CoolingHealth], float | None]], ...]] = (
    (
        Family("cooling_margin_celsius", "Of the zone nearest to its limit."),
        lambda cooling: cooling.margin_celsius,
    ),
    (Family("cooling_duty", "Share of the time that models may compute."), lambda cooling: cooling.duty),
    (
        Family("cooling_pause_ratio", "Share of the time that they pause."),
        lambda cooling: round(1 - cooling.duty, 3),
    ),
    (
        Family("cooling_changes_total", "Changes of the cooling state.", "counter"),
        lambda cooling: cooling.changes,
    ),
    (Family("cooling_looks_total", "Looks at the sensors.", "counter"), lambda cooling: cooling.looks),
    (
        Family("cooling_look_cpu_seconds_total", "CPU time of these looks.", "counter"),
        lambda cooling: cooling.look_cpu_s,
    ),
    (
        Family("power_input_watts", "What the board draws, measured."),
        lambda cooling: cooling.input_watts,
    ),
    (
        Family("power_under_voltage", "1 while the supply is too weak."),
        lambda cooling: cooling.is_under_voltage,
    ),
    (
        Family("throttled", "1 while the kernel or the firmware throttles."),
        lambda cooling: cooling.is_throttled,
    ),
)
FAMILIES: Final = (
    *(_STATE, _CAUSE),
    *(family for family, _ in _VALUES),
    *(_TEMPERATURE, _LIMIT, _FAULT, _JOULES, _TOKENS),
)


def heat_samples(cooling: CoolingHealth | None) -> list[Sample]:
    if cooling is None:
        return []
    return [*_choices(cooling), *_values(cooling), *_zones(cooling), *_energy(cooling)]


def _choices(cooling: CoolingHealth) -> list[Sample]:
    return [
        *(_STATE.sample(cooling.state == state, state.value) for state in CoolingState),
        *(_CAUSE.sample(cooling.cause == cause, cause.value) for cause in Cause),
    ]


def _values(cooling: CoolingHealth) -> list[Sample]:
    told = [(family, read(cooling)) for family, read in _VALUES]
    return [family.sample(value) for family, value in told if value is not None]


def _zones(cooling: CoolingHealth) -> list[Sample]:
    zones = [(zone, zone.name[:_MOST_NAME]) for zone in cooling.zones[:_MOST_ZONES]]
    known = [(zone.temperature_celsius, name) for zone, name in zones]
    return [
        *(_TEMPERATURE.sample(value, name) for value, name in known if value is not None),
        *(_LIMIT.sample(zone.limit_celsius, name) for zone, name in zones),
        *(_FAULT.sample(zone.fault is not None, name) for zone, name in zones),
    ]


def _energy(cooling: CoolingHealth) -> list[Sample]:
    told = cooling.energy[:MOST_MODELS]
    return [
        *(_JOULES.sample(model.joules, model.model) for model in told),
        *(_TOKENS.sample(model.tokens, model.model) for model in told),
    ]
