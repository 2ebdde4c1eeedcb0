from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import fan
from appliance.hardware.thermal_zones import CoolingDevice
from tests.unit.hardware.trees import tree

CLASS = "sys/class/hwmon"


def test_a_jetsons_two_chips_are_one_fan(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{CLASS}/hwmon7/name": "pwmfan",
            f"{CLASS}/hwmon7/pwm1": 255,
            f"{CLASS}/hwmon2/name": "pwm_tach",
            f"{CLASS}/hwmon2/rpm": 0,
        },
    )
    (only,) = fan.read(root, (CoolingDevice(kind="pwm-fan", state=3, max_state=3),))
    assert (only.name, only.duty, only.rpm, only.level, only.most_level, only.is_stalled) == (
        "pwmfan", 1.0, 0, 3, 3, True,
    )  # fmt: skip


def test_a_chip_of_a_pc_has_many_fans_without_a_level(tmp_path: Path) -> None:
    chip = f"{CLASS}/hwmon0"
    root = tree(
        tmp_path,
        {f"{chip}/name": "nct6798", f"{chip}/pwm1": 51, f"{chip}/fan1_input": 900, f"{chip}/fan3_input": 0},
    )
    told = [(one.name, one.duty, one.rpm, one.level, one.is_stalled) for one in fan.read(root)]
    assert told == [("nct6798 1", 0.2, 900, None, False), ("nct6798 3", None, 0, None, None)]


@pytest.mark.parametrize(
    ("name", "value"), [("pwm1", 256), ("pwm1", -1), ("fan1_input", -1), ("fan1_input", 10**6)]
)
def test_values_that_no_fan_has_are_unknown(name: str, value: int, tmp_path: Path) -> None:
    (only,) = fan.read(tree(tmp_path, {f"{CLASS}/hwmon0/name": "x", f"{CLASS}/hwmon0/{name}": value}))
    assert (only.duty, only.rpm) == (None, None)
    field = "duty" if name == "pwm1" else "rpm"
    assert only.reasons[field].startswith(f"/{CLASS}/hwmon0/{name}: {value} ")
