"""The report of a board for eyes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from appliance.cli.terminal import size, table
from appliance.hardware.board import BoardIdentity
from appliance.hardware.cpu_topology import CpuTopology, FrequencyPolicy
from appliance.hardware.fan import Fan
from appliance.hardware.gpu import Gpu
from appliance.hardware.jetson_stats import JetsonStats
from appliance.hardware.memory import Memory
from appliance.hardware.power import PowerReading
from appliance.hardware.report import HardwareReport
from appliance.hardware.root import Absent
from appliance.hardware.storage import Disk, Storage
from appliance.hardware.system import Program
from appliance.hardware.thermal_zones import ThermalReading, Zone

_WIDTH: Final = 11
_NOTHING: Final = "-"


def lines(
    report: HardwareReport, jtop: JetsonStats | Absent | None, programs: Sequence[Program]
) -> Iterator[str]:
    """Facts, then tables of zones and rails, then what is not known and why."""
    rows = [
        ("board", _board(report.board)),
        ("cpu", _cpu(report.cpu)),
        *(("", _policy(policy)) for policy in report.cpu.policies),
        ("memory", _memory(report.memory)),
        *_programs(programs),
        ("gpu", _gpu(report.gpu)),
        ("power mode", _power_mode(report)),
        ("power", _power(report.power)),
        ("throttled", _throttled(report)),
        *(("fan", _fan(fan)) for fan in report.fans),
        *(("disk", _disk(disk)) for disk in report.storage.disks),
        ("data", _data(report.storage)),
        ("jtop", _jtop(jtop)),
    ]
    yield from (f"{name:<{_WIDTH}} {text}" for name, text in rows if text)
    yield from _zones(report.thermal)
    yield from _rails(report.power)
    yield from _unknown(report, jtop)


def _board(board: BoardIdentity) -> str:
    l4t = f"L4T {board.l4t}" if board.l4t else None
    parts = (board.name or "unknown", board.soc, l4t, f"Linux {board.kernel}" if board.kernel else None)
    shown = ", ".join(part for part in parts if part)
    return f"{shown} ({board.model})" if board.model and board.model != board.name else shown


def _cpu(cpu: CpuTopology) -> str:
    quota = f", at most {cpu.quota_cores:g} by the cgroup" if cpu.quota_cores is not None else ""
    if not cpu.online:
        return f"cores unknown, {cpu.usable_big_cores} to compute with{quota}"
    of = f" of {len(cpu.possible)}" if cpu.possible else ""
    return f"{len(cpu.online)}{of} cores on, {cpu.usable_big_cores} to compute with{quota}"


def _policy(policy: FrequencyPolicy) -> str:
    cores = (
        f"cores {policy.cores[0]}-{policy.cores[-1]}" if len(policy.cores) > 1 else f"core {policy.cores[0]}"
    )
    now, limit, most = map(_mhz, (policy.current_hertz, policy.limit_hertz, policy.most_hertz))
    return f"{cores}: {now}, allowed {limit}, made for {most}, {policy.governor or 'no governor'}"


def _memory(memory: Memory) -> str:
    if memory.available_bytes is None or memory.total_bytes is None:
        return "unknown"
    parts = [f"{size(memory.available_bytes)} available of {size(memory.total_bytes)}"]
    if memory.limit is not None:
        parts.append(f"{size(memory.limit.room_bytes)} left of the cgroup's {size(memory.limit.limit_bytes)}")
    if memory.swaps:
        used, total = (
            sum(getattr(swap, name) for swap in memory.swaps) for name in ("used_bytes", "size_bytes")
        )
        zram = " (zram)" if all(swap.is_compressed_memory for swap in memory.swaps) else ""
        parts.append(f"swap {size(used)} of {size(total)}{zram}")
    if memory.pressure is not None:
        parts.append(f"pressure {memory.pressure.some_share:.1%}")
    if memory.gpu_used_bytes is not None:
        parts.append(f"GPU maps {size(memory.gpu_used_bytes)}")
    return ", ".join(parts)


def _programs(programs: Sequence[Program]) -> list[tuple[str, str]]:
    shown = ", ".join(f"{program.name} {size(program.resident_bytes)}" for program in programs[:3])
    return [("", f"most of it: {shown}")] if shown else []


def _gpu(gpu: Gpu) -> str:
    if gpu.name is None:
        return "none that is known"
    load = f"load {gpu.load:.1%}" if gpu.load is not None else "load unknown"
    memory = f", memory at most {_mhz(gpu.memory_most_hertz)}" if gpu.memory_most_hertz is not None else ""
    return f"{gpu.name}: {load}, {_mhz(gpu.current_hertz)}, allowed {_mhz(gpu.limit_hertz)}{memory}"


def _power_mode(report: HardwareReport) -> str:
    model = report.power_mode
    if model is None:
        return ""
    others = ", ".join(mode.name for mode in model.modes if mode != model.mode)
    now = f"{model.mode.name} ({model.mode.number})" if model.mode else "unknown"
    return f"{now}; others: {others}" if others else now


def _power(power: PowerReading) -> str:
    if power.input_watts is not None:
        return f"{power.input_watts:.2f} W"
    if power.energy_joules is not None:
        return f"{power.energy_joules:.0f} J counted by the processor"
    return "not measured"


def _throttled(report: HardwareReport) -> str:
    power = report.power
    flags = {
        "under-voltage": power.under_voltage,
        "frequency capped": power.frequency_capped,
        "throttled by the firmware": power.is_throttled,
        "soft limit of temperature": power.soft_limit,
        "over-current": power.is_over_current,
    }
    now = [name for name, flag in flags.items() if flag]
    now += [device.kind for device in report.thermal.cooling_devices if device.is_throttling]
    if report.is_throttled is None:
        return "nothing on this board would tell"
    return f"YES: {', '.join(now)}" if now else "no"


def _fan(fan: Fan) -> str:
    duty = f"{fan.duty:.0%} of its power" if fan.duty is not None else "power unknown"
    rpm = f"{fan.rpm} rpm" if fan.rpm is not None else "speed unknown"
    level = f", level {fan.level} of {fan.most_level}" if fan.level is not None else ""
    return f"{fan.name}: {duty}, {rpm}{level}{' - STALLED' if fan.is_stalled else ''}"


def _disk(disk: Disk) -> str:
    parts = [f"{disk.name} ({disk.kind})", disk.model, size(disk.size_bytes) if disk.size_bytes else None]
    if disk.life_used is not None:
        parts.append(f"at most {disk.life_used:.0%} worn")
    if disk.end_of_life not in {None, "normal"}:
        parts.append(f"end of life: {disk.end_of_life}")
    return ", ".join(part for part in parts if part)


def _data(storage: Storage) -> str:
    space = storage.data
    return f"{size(space.free_bytes)} free of {size(space.total_bytes)} in {space.path}" if space else ""


def _jtop(jtop: JetsonStats | Absent | None) -> str:
    if jtop is None:
        return ""
    if isinstance(jtop, Absent):
        return str(jtop).removeprefix("jtop: ")
    watts = f"{jtop.total_watts:.2f} W" if jtop.total_watts is not None else None
    free = (
        f"largest free piece {size(jtop.largest_free_bytes)}" if jtop.largest_free_bytes is not None else None
    )
    parts = (jtop.version, jtop.module, f"JetPack {jtop.jetpack}" if jtop.jetpack else None, watts, free)
    return ", ".join(part for part in parts if part)


def _zones(thermal: ThermalReading) -> Iterator[str]:
    if thermal.zones:
        yield ""
        yield table(
            ("ZONE", "NOW", "TRIPS"), [(zone.name, _celsius(zone), _trips(zone)) for zone in thermal.zones]
        )


def _celsius(zone: Zone) -> str:
    return f"{zone.temperature_celsius:.1f} °C" if zone.temperature_celsius is not None else _NOTHING


def _trips(zone: Zone) -> str:
    return ", ".join(f"{trip.kind} {trip.temperature_celsius:g}" for trip in zone.trips) or _NOTHING


def _rails(power: PowerReading) -> Iterator[str]:
    if power.rails:
        yield ""
        rows = [
            (
                rail.name,
                _quantity(rail.power_watts, "W"),
                _quantity(rail.volts, "V"),
                _quantity(rail.amperes, "A"),
                {True: "OVER-CURRENT", False: "ok", None: _NOTHING}[rail.is_over_current],
            )
            for rail in power.rails
        ]
        yield table(("RAIL", "POWER", "VOLTAGE", "CURRENT", "LIMIT"), rows)


def _unknown(report: HardwareReport, jtop: JetsonStats | Absent | None) -> Iterator[str]:
    """Grouped by their reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in (*_reasons(report, ""), *_reasons(jtop, "jtop.")):
        groups.setdefault(reason, []).append(name)
    if groups:
        yield ""
        yield "not known:"
        yield from (f"  {', '.join(names)}: {reason}" for reason, names in groups.items())


def _reasons(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, tuple):
        for part in value:
            yield from _reasons(part, f"{place.removesuffix('.')} {getattr(part, 'name', '?')}.")
    if not is_dataclass(value):
        return
    told: Mapping[str, str] = getattr(value, "reasons", {})
    yield from ((f"{place}{name}", reason) for name, reason in told.items())
    missing = getattr(value, "missing", None)
    if not told and missing is not None:
        yield place.removesuffix("."), missing
    for one in fields(value):
        yield from _reasons(getattr(value, one.name), f"{place}{one.name}.")


def _mhz(hertz: int | None) -> str:
    return f"{hertz / 1e6:.0f} MHz" if hertz is not None else "unknown"


def _quantity(value: float | None, unit: str) -> str:
    return f"{value:.2f} {unit}" if value is not None else _NOTHING
