"""A board that changes while it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import power, thermal_zones
from appliance.hardware.report import sample
from appliance.hardware.thermal_zones import ThermalReading, Zone
from tests.fakes import board_scenarios as scenarios
from tests.fakes.fake_board import FakeBoard, load


def zone(reading: ThermalReading, name: str) -> Zone:
    return next(zone for zone in reading.zones if zone.name == name)


def orin(tmp_path: Path) -> FakeBoard:
    return FakeBoard(tmp_path, load("orin-nano-8g-r36"), seed=7)


def test_a_heat_ramp_ends_with_the_kernel_throttling(tmp_path: Path) -> None:
    board = orin(tmp_path)
    ramp = scenarios.heat_ramp(
        board, zone="gpu-thermal", alert="gpu-throttle-alert", to_celsius=100.0, over_s=50
    )
    told = []
    for second in (0, 25, 49, 50, 110):
        ramp.advance(second)
        reading = thermal_zones.read(board.root)
        alerts = [device.kind for device in reading.cooling_devices if device.is_throttling]
        told.append((second, zone(reading, "gpu").temperature_celsius, alerts))
    assert told == [
        (0, 50.0, []),
        (25, 75.0, []),
        (49, 99.0, []),
        (50, 100.0, ["gpu-throttle-alert"]),
        (110, 85.0, []),
    ]
    assert sample(board.root).is_throttled is False


def test_a_zone_that_vanishes_is_unknown_and_comes_back(tmp_path: Path) -> None:
    board = orin(tmp_path)
    scenario = scenarios.zone_vanishes(board, zone="soc0-thermal", at_s=10, back_at_s=20)
    scenario.advance(10)
    gone = zone(thermal_zones.read(board.root), "soc0")
    assert gone.temperature_celsius is None
    assert gone.missing is not None and gone.missing.endswith("/temp: no value now (EAGAIN)")
    assert len(gone.trips) == 3
    scenario.advance(20)
    assert zone(thermal_zones.read(board.root), "soc0").temperature_celsius == 48.25


def test_a_zone_whose_driver_is_unloaded_is_no_zone_any_more(tmp_path: Path) -> None:
    board = orin(tmp_path)
    before = {zone.name for zone in thermal_zones.read(board.root).zones}
    scenarios.zone_is_unplugged(board, zone="cpu-thermal", at_s=0).advance(0)
    assert before - {zone.name for zone in thermal_zones.read(board.root).zones} == {"cpu"}


def test_a_fan_with_power_that_does_not_turn_is_stalled(tmp_path: Path) -> None:
    board = orin(tmp_path)
    assert [fan.is_stalled for fan in sample(board.root).fans] == [False]
    scenarios.fan_stalls(board, at_s=5).advance(5)
    fan = sample(board.root).fans[0]
    assert (fan.duty, fan.rpm, fan.level, fan.is_stalled) == (1.0, 0, 1, True)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("pi-4", "sys/devices/platform/soc/soc:firmware/get_throttled"),
        ("pi-5", "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"),
    ],
)
def test_a_brown_out_is_told_while_it_lasts(name: str, word: str, tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load(name))
    scenario = scenarios.brown_out(board, word=word, at_s=1, over_at_s=3)
    scenario.advance(1)
    reading = power.read(board.root)
    assert (reading.under_voltage, reading.is_throttled) == (True, False)
    scenario.advance(3)
    assert power.read(board.root).under_voltage is False


def test_an_over_current_is_told_by_its_rail(tmp_path: Path) -> None:
    board = orin(tmp_path)
    assert power.read(board.root).is_over_current is False
    scenarios.over_current(board, at_s=0).advance(0)
    reading = power.read(board.root)
    assert [rail.name for rail in reading.rails if rail.is_over_current] == ["VDD_IN"]
    assert sample(board.root).is_throttled is True


def test_a_power_mode_takes_cores_and_bounds_clocks(tmp_path: Path) -> None:
    board = orin(tmp_path)
    scenarios.power_mode(board, number=3, online="0-3", limit_khz=960000, at_s=0).advance(0)
    report = sample(board.root)
    assert report.power_mode is not None and report.power_mode.mode is not None
    assert (report.power_mode.mode.number, report.power_mode.mode.name) == (3, "7W")
    assert (report.cpu.online, report.cpu.possible) == ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5))
    assert report.cpu.usable_big_cores == 4
    assert [policy.limit_hertz for policy in report.cpu.policies] == [960_000_000]


def test_memory_that_another_program_takes_is_gone_at_the_next_look(tmp_path: Path) -> None:
    board = orin(tmp_path)
    collapse = scenarios.memory_collapses(board, from_kib=6_100_000, to_kib=100_000, at_s=0, over_s=4)
    told = []
    for second in range(5):
        collapse.advance(second)
        told.append((sample(board.root).memory.available_bytes or 0) // 1024)
    assert told == [6_100_000, 4_600_000, 3_100_000, 1_600_000, 100_000]


def test_a_clock_that_jumps_out_of_1970_changes_no_reading(tmp_path: Path) -> None:
    board = orin(tmp_path)
    scenario = scenarios.clock_is_set(board, at_s=30, unix_s=1_795_000_000.0)
    before = sample(board.root)
    assert [scenario.wall_clock_s(now_s) for now_s in (0, 29, 30, 31)] == [
        0,
        29,
        1_795_000_000,
        1_795_000_001,
    ]
    scenario.advance(31)
    assert sample(board.root) == before
