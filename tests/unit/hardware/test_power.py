from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import power, rails
from appliance.hardware.rails import Rail
from appliance.hardware.root import Absent
from tests.unit.hardware.trees import tree


def rail(name: str, watts: float | None) -> Rail:
    return Rail(name=name, power_watts=watts, volts=None, amperes=None, is_over_current=None)


@pytest.mark.parametrize(
    ("found", "watts"),
    [
        ([rail("VDD_IN", 5.0), rail("VDD_CPU_GPU_CV", 2.0), rail("VDD_SOC", 1.0)], 5.0),
        (
            [
                rail("VDD_GPU_SOC", 3.0),
                rail("VDD_CPU_CV", 1.0),
                rail("VIN_SYS_5V0", 4.0),
                rail("VDDQ_VDD2_1V8AO", 1.0),
            ],
            8.0,
        ),
        ([rail("VIN", 35.0), rail("VDD_GPU", 10.0), rail("VIN_SYS_5V0", 4.0)], 35.0),
        ([rail("POM_5V_IN", 2.0), rail("POM_5V_GPU", 1.0)], 2.0),
    ],
)
def test_the_input_is_one_rail_or_on_agx_a_sum_of_three(found: list[Rail], watts: float) -> None:
    assert rails.input_watts(tuple(found)) == watts


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "no power sensor on this board"),
        ([rail("VDD_CPU_GPU_CV", 2.0)], "none of the rails feeds the whole board: VDD_CPU_GPU_CV"),
        ([rail("VDD_IN", None)], "no power is told for rail VDD_IN"),
        (
            [rail("VDD_GPU_SOC", None), rail("VDD_CPU_CV", 1.0), rail("VIN_SYS_5V0", 4.0)],
            "no power is told for rail VDD_GPU_SOC",
        ),
    ],
)
def test_an_input_that_nobody_measures_is_never_estimated(found: list[Rail], why: str) -> None:
    assert rails.input_watts(tuple(found)) == Absent(path="", reason=why)


def test_a_sum_of_shunts_is_no_rail_and_an_ina238_counts_in_microwatts(tmp_path: Path) -> None:
    first, second = "sys/class/hwmon/hwmon3", "sys/class/hwmon/hwmon0"
    root = tree(
        tmp_path,
        {
            f"{first}/name": "ina3221",
            f"{first}/in7_label": "sum of shunt voltages",
            f"{first}/in7_input": 9,
            f"{first}/in1_label": "VDD_GPU",
            f"{first}/in1_input": 12000,
            f"{first}/curr1_input": 500,
            f"{second}/name": "ina238",
            f"{second}/in1_input": 20000,
            f"{second}/curr1_input": 1000,
            f"{second}/power1_input": 19_900_000,
        },
    )
    assert [(rail.name, rail.power_watts) for rail in rails.read(root)] == [("VDD_GPU", 6.0), ("VIN", 19.9)]


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("0", (False, False, False, False)),
        ("50005", (True, False, True, False)),
        ("0x50000", (False, False, False, False)),
        ("e000e", (False, True, True, True)),
        ("F", (True, True, True, True)),
    ],
)
def test_the_firmwares_word_is_hexadecimal(text: str, flags: tuple[bool, ...]) -> None:
    assert tuple((power.parse_throttled(text) or {}).values()) == flags


@pytest.mark.parametrize("text", ["", "0x", "throttled=0x0", "123456789", "g", "-1"])
def test_another_word_is_none(text: str) -> None:
    assert power.parse_throttled(text) is None


def test_two_packages_are_added_and_no_wrap_is_told(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for number, joules in ((0, 1_000_000), (1, 500_000)):
        zone = f"sys/class/powercap/intel-rapl:{number}"
        files |= {
            f"{zone}/name": f"package-{number}",
            f"{zone}/energy_uj": joules,
            f"{zone}/max_energy_range_uj": 10**9,
        }
    files |= {"sys/class/powercap/intel-rapl:2/name": "psys", "sys/class/powercap/intel-rapl:2/energy_uj": 7}
    reading = power.read(tree(tmp_path, files))
    assert (reading.energy_joules, reading.energy_range_joules) == (1.5, None)
    assert reading.reasons["energy_range_joules"].endswith("wrap one by one")
