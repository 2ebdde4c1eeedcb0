"""Every board of tests/boards, whatever the numbers of its zones, chips and cooling devices."""

from __future__ import annotations

import statistics
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.hardware import power, thermal_zones
from appliance.hardware.report import HardwareReport, sample
from hil import contract
from tests.fakes.fake_board import BOARDS, NAMES, FakeBoard, load


def summary(report: HardwareReport) -> dict[str, Any]:
    """The facts that a fixture's `[expected]` may name; those that are unknown are left out."""
    limits = [
        trip.temperature_celsius
        for zone in report.thermal.zones
        for trip in zone.trips
        if trip.kind in {"passive", "hot"}
    ]
    found = {
        "key": report.board.key,
        "family": report.board.family,
        "soc": report.board.soc,
        "l4t": str(report.board.l4t) if report.board.l4t else None,
        "cuda": report.board.cuda_architecture,
        "total_kib": (report.memory.total_bytes or 0) // 1024,
        "limit_mib": report.memory.limit.limit_bytes >> 20 if report.memory.limit else None,
        "budget_mib": (report.memory.budget_bytes or 0) >> 20 if report.memory.limit else None,
        "pressure": report.memory.pressure.some_share if report.memory.pressure else None,
        "swaps": len(report.memory.swaps),
        "online": len(report.cpu.online),
        "big_cores": report.cpu.usable_big_cores,
        "zones": [zone.name for zone in report.thermal.zones],
        "silent_zones": [zone.name for zone in report.thermal.zones if zone.temperature_celsius is None],
        "limit_celsius": min(limits, default=None),
        "alerts": sum(device.is_throttle_alert for device in report.thermal.cooling_devices),
        "throttled": report.is_throttled,
        "under_voltage": report.power.under_voltage,
        "rails": [rail.name for rail in report.power.rails],
        "input_watts": report.power.input_watts,
        "energy_joules": report.power.energy_joules,
        "gpu_load": report.gpu.load,
        "gpu_hertz": report.gpu.current_hertz,
        "memory_hertz": report.gpu.memory_most_hertz,
        "power_mode": report.power_mode.mode.name if report.power_mode and report.power_mode.mode else None,
        "fans": [fan.name for fan in report.fans],
        "fan_rpm": report.fans[0].rpm if len(report.fans) == 1 else None,
        "disks": [disk.name for disk in report.storage.disks],
        "life_used": report.storage.disks[0].life_used if report.storage.disks else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def test_there_are_boards_enough() -> None:
    assert len(NAMES) >= 14


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_names_the_source_of_every_fact(name: str) -> None:
    data = load(name).data
    told = [data["memory"], *data["facts"], *([data["device_tree"]] if "device_tree" in data else [])]
    told += [entry for group in ("zones", "cooling", "chips") for entry in data.get(group, ())]
    assert all(entry["source"] for entry in told)
    assert (BOARDS / f"{name}.toml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_a_board_is_read_as_its_fixture_says(name: str, tmp_path: Path) -> None:
    fixture = load(name)
    found = summary(sample(FakeBoard(tmp_path, fixture).root))
    assert found == fixture.expected


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_zones_and_chips_change_nothing(name: str, tmp_path: Path) -> None:
    fixture = load(name)
    reports = [sample(FakeBoard(tmp_path / str(seed), fixture, seed=seed).root) for seed in range(3)]
    assert [without_places(report) for report in reports[1:]] == [without_places(reports[0])] * 2


@pytest.mark.parametrize("name", NAMES)
def test_a_board_keeps_to_the_contract_of_real_ones(name: str, tmp_path: Path) -> None:
    root = FakeBoard(tmp_path, load(name)).root
    report = sample(root)
    assert contract.violations(report, sample(root)) == []
    assert (report.power.input_watts is None) == (report.power.missing is not None)


def test_one_sample_costs_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The board with the most files; the figure is printed. The median, as other programs run as well."""
    root = FakeBoard(tmp_path, load("agx-orin-64g-r36")).root
    figures = {}
    for name, read in (
        ("sample", sample),
        ("thermal_zones.read", thermal_zones.read),
        ("power.read", power.read),
    ):
        costs = []
        for _ in range(5):
            began_s = time.process_time()
            read(root)
            costs.append(time.process_time() - began_s)
        figures[name] = statistics.median(costs)
    with capsys.disabled():
        print("\n  CPU " + ", ".join(f"{name} {cost * 1000:.1f} ms" for name, cost in figures.items()))
    assert figures["sample"] <= contract.MOST_CPU_S


def without_places(value: Any) -> Any:
    """Reasons name files, and files have numbers: those are left out of the comparison."""
    if isinstance(value, tuple):
        return [without_places(part) for part in value]
    if not is_dataclass(value):
        return value
    shown = {one.name: without_places(getattr(value, one.name)) for one in fields(value)}
    if "reasons" in shown:
        shown["reasons"] = sorted(shown["reasons"])
    if shown.get("missing") is not None:
        shown["missing"] = "told"
    return shown
