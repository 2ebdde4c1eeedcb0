"""What the board tells of itself, as samples for `/metrics`: `outpost_board_*`. Temperatures and the input
power are the governor's to tell.

What is not known has no series. Rails and fans of one name share a series: the highest value stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.hardware.report import HardwareReport
from appliance.telemetry.families import Family, Labels, Sample

_THROTTLED: Final = Family(
    "board_throttled", "1 while the board is held back, by reason.", labels=("reason",)
)
_FAN: Final = Family("board_fan_rpm", "Turns of a fan in a minute.", labels=("fan",))
_RAIL: Final = Family("board_rail_watts", "What one rail takes.", labels=("rail",))
_ENERGY: Final = Family(
    "board_energy_joules_total", "What the processor packages have used; wraps.", "counter"
)
_SUPPLY: Final = Family(
    "board_supply_throttle_events_total",
    "Times the hardware has throttled itself for under-voltage or over-current.",
    "counter",
)
_TOTAL: Final = Family("board_memory_total_bytes", "Memory of the board.")
_AVAILABLE: Final = Family("board_memory_available_bytes", "To be had without swapping.")
_BUDGET: Final = Family("board_memory_budget_bytes", "Of it, what the daemon's cgroup allows.")
_PRESSURE: Final = Family(
    "board_memory_pressure_ratio",
    "Share of the last 10 s in which tasks waited for memory.",
    labels=("tasks",),
)
_CORES: Final = Family("board_cores_online", "Cores that are on.")
_GPU_LOAD: Final = Family("board_gpu_load_ratio", "Load of the GPU, 0 to 1.")
_GPU_CLOCK: Final = Family("board_gpu_hertz", "Clock of the GPU.")
_WEAR: Final = Family(
    "board_disk_life_used_ratio",
    "At most so much of a disk's life is used, in tenths; above 1: past it.",
    labels=("disk",),
)
_WORN: Final = Family(
    "board_disk_end_of_life",
    "1 for how many spare blocks a disk has left, in the words of its kind.",
    labels=("disk", "state"),
)
FAMILIES: Final = (
    *(_THROTTLED, _FAN, _RAIL, _ENERGY, _SUPPLY, _TOTAL, _AVAILABLE, _BUDGET, _PRESSURE),
    *(_CORES, _GPU_LOAD, _GPU_CLOCK, _WEAR, _WORN),
)
_MOST_NAME: Final = 40
"""Characters of a rail, fan or disk."""
_MOST_SERIES: Final = 64
"""Of one name."""


def hardware_samples(report: HardwareReport) -> list[Sample]:
    """Of one sample of the board."""
    found: dict[str, dict[Labels, Sample]] = {}
    for one in (*_cooling(report), *_power(report), *_memory(report), *_clocks(report), *_disks(report)):
        series = found.setdefault(one.name, {})
        if one.labels in series:
            if one.value > series[one.labels].value:
                series[one.labels] = one
        elif len(series) < _MOST_SERIES:
            series[one.labels] = one
    return [one for name in sorted(found) for one in found[name].values()]


def _cooling(report: HardwareReport) -> Iterator[Sample]:
    for device in report.thermal.cooling_devices:
        if device.is_throttle_alert and device.state is not None:
            yield _THROTTLED.sample(device.is_throttling, device.kind[:_MOST_NAME])
    for fan in report.fans:
        yield from _known(_FAN, fan.rpm, fan.name)


def _power(report: HardwareReport) -> Iterator[Sample]:
    power = report.power
    for rail in power.rails:
        yield from _known(_RAIL, rail.power_watts, rail.name)
    yield from _known(_ENERGY, power.energy_joules)
    yield from _known(_SUPPLY, power.supply_throttle_events)
    flags = {
        "under-voltage": power.under_voltage,
        "frequency-capped": power.frequency_capped,
        "firmware": power.is_throttled,
        "soft-temperature-limit": power.soft_limit,
        "over-current": power.is_over_current,
    }
    yield from (_THROTTLED.sample(on, name) for name, on in flags.items() if on is not None)


def _memory(report: HardwareReport) -> Iterator[Sample]:
    memory = report.memory
    yield from _known(_TOTAL, memory.total_bytes)
    yield from _known(_AVAILABLE, memory.available_bytes)
    yield from _known(_BUDGET, memory.budget_bytes)
    if memory.pressure is not None:
        for kind, share in (("some", memory.pressure.some_share), ("full", memory.pressure.full_share)):
            yield from _known(_PRESSURE, share, kind)


def _clocks(report: HardwareReport) -> Iterator[Sample]:
    yield from _known(_CORES, len(report.cpu.online) or None)
    yield from _known(_GPU_LOAD, report.gpu.load)
    yield from _known(_GPU_CLOCK, report.gpu.current_hertz)


def _disks(report: HardwareReport) -> Iterator[Sample]:
    for disk in report.storage.disks:
        yield from _known(_WEAR, disk.life_used, disk.name)
        if disk.end_of_life is not None:
            yield from (
                _WORN.sample(disk.end_of_life == state, disk.name[:_MOST_NAME], state)
                for state in ("normal", "warning", "urgent")
            )


def _known(family: Family, value: float | None, *labels: str) -> Iterator[Sample]:
    if value is not None:
        yield family.sample(value, *(label[:_MOST_NAME] for label in labels))
