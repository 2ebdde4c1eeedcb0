"""What the health report tells of heat and power, as samples for `/metrics`. What is not known has no
series.
"""

from __future__ import annotations

from typing import Final

from appliance.health.cooling import CoolingHealth
from appliance.telemetry.prometheus import Sample
from appliance.thermal.values import Cause, CoolingState

_MOST_ZONES: Final = 64
_MOST_NAME: Final = 40
"""Characters: the kernel's names have 20."""


def heat_samples(cooling: CoolingHealth | None) -> list[Sample]:
    if cooling is None:
        return []
    return [*_choices(cooling), *_values(cooling), *_zones(cooling)]


def _choices(cooling: CoolingHealth) -> list[Sample]:
    states = [
        Sample(
            name="cooling_state",
            value=cooling.state == state,
            labels=(("state", state.value),),
            help="1 for how far the measures against heat go.",
        )
        for state in CoolingState
    ]
    causes = [
        Sample(
            name="cooling_cause",
            value=cooling.cause == cause,
            labels=(("cause", cause.value),),
            help="1 for their cause.",
        )
        for cause in Cause
    ]
    return [*states, *causes]


def _values(cooling: CoolingHealth) -> list[Sample]:
    told: list[tuple[str, float | None, str, str]] = [
        ("cooling_margin_celsius", cooling.margin_celsius, "gauge", "Of the zone nearest to its limit."),
        ("cooling_duty", cooling.duty, "gauge", "Share of the time that models may compute."),
        ("cooling_pause_ratio", round(1 - cooling.duty, 3), "gauge", "Share of the time that they pause."),
        ("cooling_changes_total", cooling.changes, "counter", "Changes of the cooling state."),
        ("cooling_looks_total", cooling.looks, "counter", "Looks at the sensors."),
        ("cooling_look_cpu_seconds_total", cooling.look_cpu_s, "counter", "CPU time of these looks."),
        ("power_input_watts", cooling.input_watts, "gauge", "What the board draws, measured."),
        ("power_under_voltage", cooling.is_under_voltage, "gauge", "1 while the supply is too weak."),
        ("throttled", cooling.is_throttled, "gauge", "1 while the kernel or the firmware throttles."),
    ]
    return [
        Sample(name=name, value=value, kind=kind, help=about)
        for name, value, kind, about in told
        if value is not None
    ]


def _zones(cooling: CoolingHealth) -> list[Sample]:
    zones = [(zone, (("zone", zone.name[:_MOST_NAME]),)) for zone in cooling.zones[:_MOST_ZONES]]
    known = [(zone.temperature_celsius, labels) for zone, labels in zones]
    return [
        *(
            Sample(name="zone_temperature_celsius", value=value, labels=labels, help="As read now.")
            for value, labels in known
            if value is not None
        ),
        *(
            Sample(
                name="zone_limit_celsius",
                value=zone.limit_celsius,
                labels=labels,
                help="Where throttling begins, or is taken to begin.",
            )
            for zone, labels in zones
        ),
        *(
            Sample(
                name="zone_fault",
                value=zone.fault is not None,
                labels=labels,
                help="1 while the sensor is not believed.",
            )
            for zone, labels in zones
        ),
    ]
