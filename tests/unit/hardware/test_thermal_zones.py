from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import thermal_zones
from appliance.hardware.thermal_zones import CoolingDevice, Trip, Zone
from tests.unit.hardware.trees import tree


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("CPU-therm", "cpu"),
        ("cv0-thermal", "cv0"),
        ("tj-thermal", "tj"),
        ("x86_pkg_temp", "x86_pkg_temp"),
        ("acpitz", "acpitz"),
        ("cpu_thermal", "cpu"),
        ("thermal-fan-est", "thermal-fan-est"),
        ("SOC2-therm", "soc2"),
    ],
)
def test_names_of_zones_are_the_same_on_every_release(kind: str, name: str) -> None:
    assert thermal_zones.normalised(kind) == name


def test_trips_are_sorted_and_those_at_zero_or_below_are_off(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone4"
    files: dict[str, object] = {f"{zone}/type": "x86_pkg_temp", f"{zone}/temp": 47000}
    for number, (kind, value, hysteresis) in enumerate(
        [
            ("critical", 104500, 0),
            ("passive", 0, 0),
            ("passive", -274000, 0),
            ("active", 70000, 8000),
            ("hot", 99000, "x"),
        ]
    ):
        files |= {
            f"{zone}/trip_point_{number}_type": kind,
            f"{zone}/trip_point_{number}_temp": value,
            f"{zone}/trip_point_{number}_hyst": hysteresis,
        }
    assert thermal_zones.read(tree(tmp_path, files)).zones == (
        Zone(
            name="x86_pkg_temp",
            temperature_celsius=47.0,
            missing=None,
            trips=(
                Trip(kind="active", temperature_celsius=70.0, hysteresis_celsius=8.0),
                Trip(kind="hot", temperature_celsius=99.0, hysteresis_celsius=0.0),
                Trip(kind="critical", temperature_celsius=104.5, hysteresis_celsius=0.0),
            ),
        ),
    )


@pytest.mark.parametrize("value", [-256000, 999000, 2_147_483_647])
def test_a_temperature_no_board_has_is_a_fault_and_not_a_temperature(value: int, tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    reading = thermal_zones.read(tree(tmp_path, {f"{zone}/type": "cpu", f"{zone}/temp": value}))
    assert reading.zones[0].temperature_celsius is None
    assert reading.zones[0].missing == f"/{zone}/temp: {value / 1000:g} °C is no temperature of a board"


def test_zones_of_one_name_are_all_told(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for number, value in ((0, 30000), (1, 28000)):
        files |= {
            f"sys/class/thermal/thermal_zone{number}/type": "acpitz",
            f"sys/class/thermal/thermal_zone{number}/temp": value,
        }
    reading = thermal_zones.read(tree(tmp_path, files))
    assert [(zone.name, zone.temperature_celsius) for zone in reading.zones] == [
        ("acpitz", 28.0),
        ("acpitz", 30.0),
    ]


def test_only_throttle_alerts_tell_of_throttling() -> None:
    devices = [
        CoolingDevice(kind=kind, state=state, max_state=1)
        for kind, state in (
            ("hot-surface-alert", 1),
            ("cpu-throttle-alert", 0),
            ("soc0-throttle-alert", 1),
            ("cv0-throttle-alert", None),
        )
    ]
    assert [device.is_throttle_alert for device in devices] == [False, True, True, True]
    assert [device.is_throttling for device in devices] == [False, False, True, False]
