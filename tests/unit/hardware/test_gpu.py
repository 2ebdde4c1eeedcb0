from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware import gpu
from tests.unit.hardware.trees import tree


def test_a_gpu_that_sleeps_is_not_woken(tmp_path: Path) -> None:
    device = "sys/devices/17000000.ga10b"
    found = gpu.read(tree(tmp_path, {f"{device}/load": 625, f"{device}/power/runtime_status": "suspended"}))
    assert found.load is None
    assert found.reasons["load"] == f"/{device}: switched off; to read its load would wake it"


@pytest.mark.parametrize(("value", "load"), [(0, 0.0), (625, 0.625), (1000, 1.0), (1001, None), (-1, None)])
def test_the_load_of_a_jetson_is_per_mille(value: int, load: float | None, tmp_path: Path) -> None:
    assert gpu.read(tree(tmp_path, {"sys/devices/gpu.0/load": value})).load == load


def test_a_clock_in_another_unit_is_refused(tmp_path: Path) -> None:
    clock = "sys/class/devfreq/17000000.gpu"
    found = gpu.read(tree(tmp_path, {f"{clock}/cur_freq": 306, f"{clock}/max_freq": 1_020_000_000}))
    assert (found.current_hertz, found.limit_hertz) == (None, 1_020_000_000)
    assert (
        found.reasons["current_hertz"] == f"/{clock}/cur_freq: 306 Hz is not the clock of a GPU or of memory"
    )
