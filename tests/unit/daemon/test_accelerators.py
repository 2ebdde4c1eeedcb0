"""Which GPU plans are made for: the board must have one, and llama.cpp must be built for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.daemon.accelerators import accelerator_of, board_gpu, gpu_plan
from appliance.hardware.root import Root
from appliance.planner.facts import Accelerator
from appliance.supervisor.device import Device


def tree(top: Path, *compatible: str) -> Root:
    folder = top / "sys/firmware/devicetree/base"
    folder.mkdir(parents=True)
    (folder / "compatible").write_bytes(b"".join(name.encode() + b"\0" for name in compatible))
    return Root(top)


def test_a_jetson_has_a_gpu_and_a_pi_has_none_for_us(tmp_path: Path) -> None:
    orin = tree(
        tmp_path / "orin", "nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"
    )
    pi = tree(tmp_path / "pi", "raspberrypi,5-model-b", "brcm,bcm2712")
    assert board_gpu(orin) == "the GPU of Jetson Orin Nano 8 GB"
    assert board_gpu(pi) is None
    assert board_gpu(Root(tmp_path / "nothing")) is None


@pytest.mark.parametrize("name", ["libggml-cuda.so", "libggml-cuda.so.0", "libggml-vulkan.so"])
def test_plans_are_for_the_gpu_where_the_build_has_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "libggml-cpu.so.0").touch()
    assert accelerator_of("a GPU", tmp_path) is Accelerator.NONE
    (tmp_path / name).touch()
    assert accelerator_of("a GPU", tmp_path) is Accelerator.UNIFIED
    assert accelerator_of(None, tmp_path) is Accelerator.NONE
    assert accelerator_of("a GPU", None) is Accelerator.NONE
    assert accelerator_of("a GPU", tmp_path / "not there") is Accelerator.NONE


@pytest.mark.parametrize(
    ("device", "known", "planned"),
    [
        (Device.CPU, Accelerator.UNIFIED, Accelerator.NONE),
        (Device.PREFER_GPU, Accelerator.UNIFIED, Accelerator.UNIFIED),
        (Device.PREFER_GPU, Accelerator.NONE, Accelerator.NONE),
        (Device.REQUIRE_GPU, Accelerator.NONE, Accelerator.UNIFIED),
        (Device.REQUIRE_GPU, Accelerator.DISCRETE, Accelerator.DISCRETE),
    ],
)
def test_what_a_model_is_planned_for(device: Device, known: Accelerator, planned: Accelerator) -> None:
    assert gpu_plan(device, known) is planned
