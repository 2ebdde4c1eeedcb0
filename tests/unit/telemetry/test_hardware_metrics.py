"""What `/metrics` says of the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware.report import sample
from appliance.telemetry.hardware_metrics import hardware_samples
from tests.fakes.fake_board import NAMES, FakeBoard, load


def told(name: str, top: Path) -> dict[str, float]:
    return {
        one.name + "".join(f"[{value}]" for _, value in one.labels): one.value
        for one in hardware_samples(sample(FakeBoard(top, load(name)).root))
    }


def test_a_jetson_tells_its_heat_its_power_and_what_holds_it_back(tmp_path: Path) -> None:
    found = told("orin-nano-8g-r35", tmp_path)
    assert found["board_temperature_celsius[gpu]"] == 48.125
    assert "board_temperature_celsius[cv0]" not in found
    assert (found["board_input_watts"], found["board_rail_watts[VDD_IN]"]) == (5.588, 5.588)
    assert (found["board_throttled[over-current]"], found["board_throttled[gpu-throttle-alert]"]) == (0, 0)
    assert (found["board_gpu_load_ratio"], found["board_gpu_hertz"]) == (0.125, 306_000_000)
    assert (found["board_cores_online"], found["board_fan_rpm[pwmfan]"]) == (6, 1200)
    assert found["board_memory_available_bytes"] == 6_100_000 * 1024


def test_a_pi_tells_the_word_of_its_firmware(tmp_path: Path) -> None:
    found = told("pi-4", tmp_path)
    assert {name: value for name, value in found.items() if name.startswith("board_throttled")} == {
        "board_throttled[under-voltage]": 1,
        "board_throttled[frequency-capped]": 1,
        "board_throttled[firmware]": 1,
        "board_throttled[soft-temperature-limit]": 0,
    }
    assert "board_input_watts" not in found


def test_a_machine_with_nothing_tells_only_its_memory_and_cores(tmp_path: Path) -> None:
    assert set(told("vm", tmp_path)) == {
        "board_cores_online",
        "board_memory_available_bytes",
        "board_memory_budget_bytes",
        "board_memory_pressure_ratio[full]",
        "board_memory_pressure_ratio[some]",
        "board_memory_total_bytes",
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_series_is_told_twice_and_each_says_what_it_is(name: str, tmp_path: Path) -> None:
    found = hardware_samples(sample(FakeBoard(tmp_path, load(name)).root))
    series = [(one.name, one.labels) for one in found]
    assert len(series) == len(set(series))
    assert all(one.help for one in found)


def test_two_zones_of_one_name_are_told_by_the_hotter_one(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load("vm"))
    for number, value in ((0, 30000), (1, 41000), (2, 28000)):
        board.write(f"sys/class/thermal/thermal_zone{number}/type", "acpitz")
        board.write(f"sys/class/thermal/thermal_zone{number}/temp", value)
    found = [one for one in hardware_samples(sample(board.root)) if one.name == "board_temperature_celsius"]
    assert [one.value for one in found] == [41.0]
