"""Temperatures with their trip points, and the devices that cool: one cheap look, for the governor's loop.

Zones come from /sys/class/thermal, found by type: their numbers change with the kernel. L4T R35 says
`CPU-therm` where R36 says `cpu-thermal`; both are `cpu` here. Processors of a PC that have no zone of their
own (k10temp) or a better sensor (coretemp) are zones by their hwmon chip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.hardware.hwmon import Chip, chips
from appliance.hardware.root import Absent, Root

_CLASS: Final = "sys/class/thermal"
_SUFFIX: Final = re.compile(r"[-_](?:therm|thermal)$")
_LEAST_CELSIUS: Final = -55.0
_MOST_CELSIUS: Final = 200.0
"""No sensor of a board is made for more; what lies outside is a fault, not a temperature."""
_CONSTANT: Final = ("pmic-die", 100.0)
"""Jetson Nano: the zone of the power chip always tells 100 °C."""
_PROCESSOR_CHIPS: Final = ("coretemp", "k10temp", "zenpower")
_THROTTLE_ALERT: Final = "-throttle-alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A temperature at which the kernel acts."""

    kind: str
    """critical | hot | passive | active"""
    temperature_celsius: float
    hysteresis_celsius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One place whose temperature is measured."""

    name: str
    """In small letters, without `-therm` or `-thermal`. Two zones may have the same."""
    temperature_celsius: float | None
    missing: str | None
    """Why there is no temperature; None: there is one."""
    trips: tuple[Trip, ...]
    """From the lowest to the highest."""
    mode: str | None = None
    """`enabled` or `disabled`: whether the kernel watches it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingDevice:
    """What the kernel cools with, or tells its throttling by."""

    kind: str
    state: int | None
    max_state: int | None

    @property
    def is_throttle_alert(self) -> bool:
        """A pseudo-device of Orin: its state is 1 while that part is throttled."""
        return self.kind.endswith(_THROTTLE_ALERT)

    @property
    def is_throttling(self) -> bool:
        return self.is_throttle_alert and bool(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalReading:
    """One look. Both are sorted by name, whatever their numbers in sysfs."""

    zones: tuple[Zone, ...]
    cooling_devices: tuple[CoolingDevice, ...]
    missing: str | None = None
    """Why there is no zone; None: there are some."""


def read(root: Root) -> ThermalReading:
    """Read every zone and cooling device; about 100 small files on an Orin."""
    listed = root.names(_CLASS)
    entries = () if isinstance(listed, Absent) else listed
    found = [_zone(root, f"{_CLASS}/{entry}") for entry in entries if entry.startswith("thermal_zone")]
    found += [_chip_zone(root, chip) for chip in chips(root, names=_PROCESSOR_CHIPS)]
    zones = sorted((zone for zone in found if zone is not None and not _is_constant(zone)), key=_order)
    cooling = [_cooling(root, f"{_CLASS}/{entry}") for entry in entries if entry.startswith("cooling_device")]
    missing = str(listed) if isinstance(listed, Absent) else f"/{_CLASS}: no thermal zone"
    return ThermalReading(
        zones=tuple(zones),
        cooling_devices=tuple(
            sorted(
                (device for device in cooling if device is not None),
                key=lambda device: (device.kind, device.max_state or 0, device.state or 0),
            )
        ),
        missing=None if zones else missing,
    )


def normalised(kind: str) -> str:
    """`CPU-therm` and `cpu-thermal` are `cpu`."""
    return _SUFFIX.sub("", kind.strip().lower())


def _zone(root: Root, path: str) -> Zone | None:
    kind = root.text(f"{path}/type")
    if isinstance(kind, Absent):
        return None
    temperature, missing = _celsius(root, f"{path}/temp")
    mode = root.text(f"{path}/mode")
    return Zone(
        name=normalised(kind),
        temperature_celsius=temperature,
        missing=missing,
        trips=_trips(root, path),
        mode=mode if isinstance(mode, str) else None,
    )


def _trips(root: Root, path: str) -> tuple[Trip, ...]:
    """Numbered without gaps; their order is the release's, so they are sorted by temperature."""
    found = []
    listed = root.names(path)
    for name in () if isinstance(listed, Absent) else listed:
        if not (name.startswith("trip_point_") and name.endswith("_type")):
            continue
        trip = _trip(root, f"{path}/{name.removesuffix('_type')}")
        if trip is not None:
            found.append(trip)
    return tuple(sorted(found, key=lambda trip: (trip.temperature_celsius, trip.kind)))


def _trip(root: Root, prefix: str) -> Trip | None:
    """A trip at 0 °C or below is switched off (x86_pkg_temp starts so; -274 °C is the kernel's "invalid")."""
    kind = root.text(f"{prefix}_type")
    temperature, _ = _celsius(root, f"{prefix}_temp")
    hysteresis, _ = _celsius(root, f"{prefix}_hyst")
    if isinstance(kind, Absent) or temperature is None or temperature <= 0:
        return None
    return Trip(
        kind=kind.lower(), temperature_celsius=temperature, hysteresis_celsius=max(hysteresis or 0.0, 0.0)
    )


def _chip_zone(root: Root, chip: Chip) -> Zone | None:
    """A processor's chip is as hot as its hottest sensor."""
    sensors = [path.removesuffix("_input") for path in root.glob(f"{chip.path}/temp*_input")]
    readings = [_celsius(root, f"{sensor}_input") for sensor in sensors]
    known = [temperature for temperature, _ in readings if temperature is not None]
    if not sensors:
        return None
    trips = []
    for kind, suffix in (("hot", "max"), ("critical", "crit")):
        bounds = [_celsius(root, f"{sensor}_{suffix}")[0] for sensor in sensors]
        lowest = min((bound for bound in bounds if bound is not None and bound > 0), default=None)
        if lowest is not None:
            trips.append(Trip(kind=kind, temperature_celsius=lowest, hysteresis_celsius=0.0))
    return Zone(
        name=chip.name,
        temperature_celsius=max(known, default=None),
        missing=None if known else readings[0][1],
        trips=tuple(sorted(trips, key=lambda trip: trip.temperature_celsius)),
    )


def _celsius(root: Root, path: str) -> tuple[float | None, str | None]:
    """From millidegrees; a value no sensor can have is a fault."""
    value = root.integer(path)
    if isinstance(value, Absent):
        return None, str(value)
    celsius = value / 1000
    if not _LEAST_CELSIUS <= celsius <= _MOST_CELSIUS:
        return None, f"/{path}: {celsius:g} °C is no temperature of a board"
    return celsius, None


def _cooling(root: Root, path: str) -> CoolingDevice | None:
    kind = root.text(f"{path}/type")
    if isinstance(kind, Absent):
        return None
    state, most = root.integer(f"{path}/cur_state"), root.integer(f"{path}/max_state")
    return CoolingDevice(
        kind=kind.lower(),
        state=state if isinstance(state, int) else None,
        max_state=most if isinstance(most, int) else None,
    )


def _is_constant(zone: Zone) -> bool:
    return (zone.name, zone.temperature_celsius) == _CONSTANT


def _order(zone: Zone) -> tuple[str, float, str, tuple[float, ...]]:
    """Zones of one name stand by what they tell, not by their numbers."""
    temperature = zone.temperature_celsius if zone.temperature_celsius is not None else _LEAST_CELSIUS
    return (zone.name, temperature, zone.mode or "", tuple(trip.temperature_celsius for trip in zone.trips))
