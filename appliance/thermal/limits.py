"""Which temperature counts as a zone's limit, and which zones count at all. Pure.

    1. The lowest `passive` or `hot` trip: there the kernel begins to throttle.
    2. None, on a Raspberry Pi: 80 °C, where its firmware begins (raspberrypi/documentation,
       frequency-management).
    3. None, but a `critical` one: 15 K below, 85 °C at most.
    4. No trip at all: as the strictest zone of the same board that has some of kind 1; else 85 °C.

`active` trips are steps of the fan and no limit. Trips below 40 °C are none: `x86_pkg_temp` has passive ones
of 0 °C or of -274 °C until somebody sets them.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.hardware.thermal_zones import Zone

_FIRMWARE_LIMIT_CELSIUS = 80.0
_BELOW_CRITICAL_CELSIUS = 15.0
_USUAL_LIMIT_CELSIUS = 85.0
_LEAST_TRIP_CELSIUS = 40.0
_NOT_THE_CHIP = ("pmic-die", "int3400", "iwlwifi", "ath1", "mt79", "bat", "nvme", "hot-surface")
"""Beginnings of names, in lower case: constants (PMIC-Die of Tegra always reads 100 °C) and other parts."""
_MAY_SLEEP = ("cv0", "cv1", "cv2")
"""Their engines of Orin are powered off when unused, and then cannot be read."""


def counts(zone: Zone) -> bool:
    """Whether it tells of the chip that computes."""
    return not zone.name.lower().startswith(_NOT_THE_CHIP)


def may_sleep(zone: Zone) -> bool:
    """Whether it may be unreadable without a fault."""
    return zone.name.lower().startswith(_MAY_SLEEP)


def limit_celsius(zone: Zone, zones: Sequence[Zone], *, is_raspberry_pi: bool) -> float:
    own = _throttle_trip(zone)
    if own is not None:  # 1
        return own
    if is_raspberry_pi:  # 2
        return _FIRMWARE_LIMIT_CELSIUS
    critical = _lowest(zone, "critical")
    if critical is not None:  # 3
        return min(critical - _BELOW_CRITICAL_CELSIUS, _USUAL_LIMIT_CELSIUS)
    others = [trip for one in zones if counts(one) and (trip := _throttle_trip(one)) is not None]
    return min(others, default=_USUAL_LIMIT_CELSIUS)  # 4


def _throttle_trip(zone: Zone) -> float | None:
    trips = [trip for kind in ("passive", "hot") if (trip := _lowest(zone, kind)) is not None]
    return min(trips, default=None)


def _lowest(zone: Zone, kind: str) -> float | None:
    of_kind = (trip.temperature_celsius for trip in zone.trips if trip.kind == kind)
    return min((one for one in of_kind if one >= _LEAST_TRIP_CELSIUS), default=None)
