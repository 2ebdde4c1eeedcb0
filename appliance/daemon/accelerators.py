"""Which GPU this board has, and whether the installed llama.cpp was built for one: without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from appliance.hardware import board
from appliance.hardware.root import Root
from appliance.planner.facts import Accelerator
from appliance.supervisor.device import Device

_BACK_ENDS: Final = ("libggml-cuda.so*", "libggml-vulkan.so*", "libggml-hip.so*")


def board_gpu(root: Root) -> str | None:
    """For people; None: no GPU that llama.cpp could compute on is known here. Those of Jetsons are: their
    memory is the board's, and is planned for.
    """
    seen = board.read(root)
    if seen.cuda_architecture is None:
        return None
    return f"the GPU of {seen.name or seen.soc or 'this board'}"


def accelerator_of(gpu: str | None, libraries: Path | None) -> Accelerator:
    """What plans are made for: the board's GPU, where the build can use it."""
    if gpu is None or libraries is None or not has_gpu_build(libraries):
        return Accelerator.NONE
    return Accelerator.UNIFIED


def gpu_plan(device: Device, known: Accelerator) -> Accelerator:
    """Where a GPU is required it is planned for, also one that nobody knows of: the load will tell."""
    if device is Device.CPU:
        return Accelerator.NONE
    return Accelerator.UNIFIED if device is Device.REQUIRE_GPU and known is Accelerator.NONE else known


def has_gpu_build(libraries: Path) -> bool:
    return any(next(libraries.glob(pattern), None) is not None for pattern in _BACK_ENDS)


def llama_libraries() -> Path | None:
    """Where the runners' llama.cpp is installed."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "lib"
