"""What the board tells of itself, as samples for `/metrics`: `outpost_board_*`.

What is not known has no series. Zones, rails and fans of one name share a series: the highest value stands
for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.hardware.report import HardwareReport
from appliance.telemetry.prometheus import Labels, Sample


def hardware_samples(report: HardwareReport) -> list[Sample]:
    """Of one sample of the board."""
    found: dict[tuple[str, Labels], Sample] = {}
    for one in (*_heat(report), *_power(report), *_memory(report), *_clocks(report)):
        key = (one.name, one.labels)
        if key not in found or one.value > found[key].value:
            found[key] = one
    return sorted(found.values(), key=lambda one: one.name)  # those of one name stand together


def _heat(report: HardwareReport) -> Iterator[Sample]:
    for zone in report.thermal.zones:
        labels = (("zone", zone.name),)
        yield from _known("temperature_celsius", zone.temperature_celsius, "Of a zone of the board.", labels)
    for device in report.thermal.cooling_devices:
        if device.is_throttle_alert and device.state is not None:
            yield _throttled(device.kind, on=device.is_throttling)
    for fan in report.fans:
        yield from _known("fan_rpm", fan.rpm, "Turns of a fan in a minute.", (("fan", fan.name),))


def _power(report: HardwareReport) -> Iterator[Sample]:
    power = report.power
    yield from _known("input_watts", power.input_watts, "What the whole board takes.")
    for rail in power.rails:
        yield from _known("rail_watts", rail.power_watts, "What one rail takes.", (("rail", rail.name),))
    if power.energy_joules is not None:
        yield Sample(
            name="board_energy_joules_total",
            value=power.energy_joules,
            help="What the processor packages have used; wraps.",
            kind="counter",
        )
    flags = {
        "under-voltage": power.under_voltage,
        "frequency-capped": power.frequency_capped,
        "firmware": power.is_throttled,
        "soft-temperature-limit": power.soft_limit,
        "over-current": power.is_over_current,
    }
    yield from (_throttled(name, on=on) for name, on in flags.items() if on is not None)


def _memory(report: HardwareReport) -> Iterator[Sample]:
    memory = report.memory
    yield from _known("memory_total_bytes", memory.total_bytes, "Memory of the board.")
    yield from _known("memory_available_bytes", memory.available_bytes, "To be had without swapping.")
    yield from _known("memory_budget_bytes", memory.budget_bytes, "Of it, what the daemon's cgroup allows.")
    if memory.pressure is not None:
        about = "Share of the last 10 s in which tasks waited for memory."
        for kind, share in (("some", memory.pressure.some_share), ("full", memory.pressure.full_share)):
            yield from _known("memory_pressure_ratio", share, about, (("tasks", kind),))


def _clocks(report: HardwareReport) -> Iterator[Sample]:
    yield from _known("cores_online", len(report.cpu.online) or None, "Cores that are on.")
    yield from _known("gpu_load_ratio", report.gpu.load, "Load of the GPU, 0 to 1.")
    yield from _known("gpu_hertz", report.gpu.current_hertz, "Clock of the GPU.")


def _throttled(reason: str, *, on: bool) -> Sample:
    about = "1 while the board is held back, by reason."
    return Sample(name="board_throttled", value=int(on), labels=(("reason", reason),), help=about)


def _known(name: str, value: float | None, about: str, labels: Labels = ()) -> Iterator[Sample]:
    if value is not None:
        yield Sample(name=f"board_{name}", value=value, labels=labels, help=about)
