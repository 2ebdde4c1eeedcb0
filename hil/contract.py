"""What every board's report keeps to. Each function returns what is wrong, in words; empty: all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, Final

from appliance.hardware.boards import Family
from appliance.hardware.report import HardwareReport

LEAST_CELSIUS: Final = 0.0
MOST_CELSIUS: Final = 125.0
LEAST_VOLTS: Final = 3.0
MOST_VOLTS: Final = 20.5
"""The greatest supply of a board here is 20 V (Thor)."""
MOST_WATTS: Final = 200.0
MOST_CPU_S: Final = 0.020
"""Of one sample."""


def unexplained(value: Any, place: str = "report") -> list[str]:
    """Fields that are None in a reading that gives reasons, without one."""
    if isinstance(value, tuple):
        return [lack for index, part in enumerate(value) for lack in unexplained(part, f"{place}[{index}]")]
    if not is_dataclass(value):
        return []
    found = []
    reasons = getattr(value, "reasons", None)
    for one in fields(value):
        part = getattr(value, one.name)
        if part is None and reasons is not None and one.name not in {*reasons, "missing"}:
            found.append(f"{place}.{one.name} is None without a reason")
        found += unexplained(part, f"{place}.{one.name}")
    return found


def temperatures(report: HardwareReport) -> list[str]:
    """In range and below what switches the board off, or with a reason."""
    found = []
    for zone in report.thermal.zones:
        celsius = zone.temperature_celsius
        if (celsius is None) == (zone.missing is None):
            found.append(f"zone {zone.name} has neither a temperature nor a reason, or both")
        if celsius is not None and not LEAST_CELSIUS < celsius < MOST_CELSIUS:
            found.append(f"zone {zone.name} is at {celsius} °C")
        trips = [trip.temperature_celsius for trip in zone.trips]
        found += [f"zone {zone.name} has a trip at {trip} °C" for trip in trips if not 0 < trip <= 200]
        if trips != sorted(trips):
            found.append(f"trips of zone {zone.name} are not sorted: {trips}")
    return found


def supplies(report: HardwareReport) -> list[str]:
    """Rails and the input, in range or unknown."""
    found = [
        f"rail {rail.name} is at {rail.volts} V"
        for rail in report.power.rails
        if rail.volts is not None and not LEAST_VOLTS <= rail.volts <= MOST_VOLTS
    ]
    watts = {rail.name: rail.power_watts for rail in report.power.rails} | {"input": report.power.input_watts}
    found += [
        f"{name} takes {value} W"
        for name, value in watts.items()
        if value is not None and not 0 <= value < MOST_WATTS
    ]
    return found


def memory(report: HardwareReport) -> list[str]:
    """Parts are at most their whole."""
    told = report.memory
    pairs: Iterable[tuple[str, int | None, str, int | None]] = (
        ("available", told.available_bytes, "total", told.total_bytes),
        ("free", told.free_bytes, "total", told.total_bytes),
        ("swap free", told.swap_free_bytes, "swap total", told.swap_total_bytes),
        ("budget", told.budget_bytes, "available", told.available_bytes),
    )
    return [
        f"{part} {part_bytes} is more than {whole} {whole_bytes}"
        for part, part_bytes, whole, whole_bytes in pairs
        if part_bytes is not None and whole_bytes is not None and part_bytes > whole_bytes
    ] + ([] if told.total_bytes else ["the total of the memory is unknown"])


def cores(report: HardwareReport) -> list[str]:
    """Those on line are among the possible ones, and threads are at most those."""
    cpu = report.cpu
    found = [
        f"core {core} is on line and not possible"
        for core in cpu.online
        if cpu.possible and core not in cpu.possible
    ]
    if cpu.online and not 1 <= cpu.usable_big_cores <= len(cpu.online):
        found.append(f"{cpu.usable_big_cores} threads on {len(cpu.online)} cores")
    for policy in cpu.policies:
        clocks = (policy.current_hertz, policy.limit_hertz, policy.most_hertz)
        found += [
            f"clock of {hertz} Hz" for hertz in clocks if hertz is not None and not 1e7 <= hertz <= 1e10
        ]
    return found


def shares(report: HardwareReport) -> list[str]:
    """What is a share lies within 0 to 1."""
    stall = report.memory.pressure
    told = {
        "gpu.load": report.gpu.load,
        "pressure.some": stall.some_share if stall else None,
        "pressure.full": stall.full_share if stall else None,
        **{f"fan {fan.name}": fan.duty for fan in report.fans},
    }
    return [f"{name} is {share}" for name, share in told.items() if share is not None and not 0 <= share <= 1]


def counters(before: HardwareReport, after: HardwareReport) -> list[str]:
    """Do not go back; RAPL may, but only by its whole range."""
    found = []
    first, last = before.memory.pressure, after.memory.pressure
    if first is not None and last is not None:
        totals = (
            ("some", first.some_total_s, last.some_total_s),
            ("full", first.full_total_s, last.full_total_s),
        )
        found += [f"pressure {name} went back" for name, earlier, later in totals if later < earlier]
    earlier, later = before.power.energy_joules, after.power.energy_joules
    went_back = earlier is not None and later is not None and later < earlier
    if went_back and not after.power.energy_range_joules:
        found.append("energy went back, and no range is known")
    return found


def identity(before: HardwareReport, after: HardwareReport) -> list[str]:
    """The board is the same at each look."""
    return [] if before.board == after.board else [f"{before.board} became {after.board}"]


def family(report: HardwareReport) -> list[str]:
    """What each board of its family must be able to tell."""
    found = []
    kind = report.board.family
    if kind is Family.JETSON:
        found += [] if report.power.rails else ["a Jetson without a power rail"]
        found += (
            [] if report.board.l4t else [f"a Jetson without a release: {report.board.reasons.get('l4t')}"]
        )
        found += [] if report.gpu.name else [f"a Jetson without a GPU: {report.gpu.reasons.get('name')}"]
    if kind is Family.RASPBERRY_PI and report.power.is_throttled is None:
        found.append(f"a Raspberry Pi without its word: {report.power.reasons.get('is_throttled')}")
    if kind in {Family.JETSON, Family.RASPBERRY_PI, Family.ROCKCHIP}:
        known = [zone for zone in report.thermal.zones if zone.temperature_celsius is not None]
        found += [] if known else [f"no temperature: {report.thermal.missing}"]
    return found


def violations(before: HardwareReport, after: HardwareReport) -> list[str]:
    """Of all rules, by two samples of one board, the second taken later."""
    of_one = (unexplained, temperatures, supplies, memory, cores, shares, family)
    of_two = (counters, identity)
    return [
        *(wrong for rule in of_one for wrong in rule(after)),
        *(wrong for rule in of_two for wrong in rule(before, after)),
    ]
