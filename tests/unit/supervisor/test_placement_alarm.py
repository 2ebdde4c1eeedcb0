"""Where a model runs, against where it was to run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from appliance.supervisor.device import Device
from appliance.supervisor.placement_alarm import placement_alarm
from tests.unit.supervisor.desk_scene import FACTS, SPEC

CPU = SPEC.placement
GPU = replace(CPU, n_gpu_layers=-1)
ON_CPU = replace(FACTS, n_layers=29)
ON_GPU = replace(FACTS, device="CUDA0", n_gpu_layers=29, n_layers=29)
PARTLY = replace(ON_GPU, n_gpu_layers=20)
ORIN = "the GPU of Jetson Orin Nano 8 GB"


@pytest.mark.parametrize("device", [Device.PREFER_GPU, Device.REQUIRE_GPU])
def test_a_gpu_plan_on_the_cpu_is_an_alarm(device: Device) -> None:
    assert placement_alarm(device, ON_CPU, planned=GPU, gpu=ORIN) == (
        "runs on the CPU, not on the GPU of Jetson Orin Nano 8 GB: it was planned for it; "
        "see `outpost hardware`"
    )


def test_a_build_without_the_gpu_of_the_board_is_an_alarm() -> None:
    told = placement_alarm(Device.PREFER_GPU, ON_CPU, planned=CPU, gpu=ORIN)
    assert told is not None
    assert "has a llama.cpp that was built without it" in told


def test_some_layers_where_all_were_planned_are_an_alarm() -> None:
    told = placement_alarm(Device.PREFER_GPU, PARTLY, planned=GPU, gpu=ORIN)
    assert told == "runs with 20 of 29 layers on CUDA0, not with all"
    few = replace(GPU, n_gpu_layers=20)
    assert placement_alarm(Device.PREFER_GPU, PARTLY, planned=few, gpu=ORIN) is None


def test_what_was_wished_or_cannot_be_otherwise_is_none() -> None:
    assert placement_alarm(Device.CPU, ON_CPU, planned=CPU, gpu=ORIN) is None
    assert placement_alarm(Device.PREFER_GPU, ON_CPU, planned=CPU, gpu=None) is None
    assert placement_alarm(Device.PREFER_GPU, ON_GPU, planned=GPU, gpu=ORIN) is None
