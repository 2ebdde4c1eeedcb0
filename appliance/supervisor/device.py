"""On what a model may run: apart from the other policies, which `outpost fit` does not need."""

from __future__ import annotations

from enum import StrEnum


class Device(StrEnum):
    """On what a model may run."""

    REQUIRE_GPU = "require_gpu"
    """On a GPU, or not at all."""
    PREFER_GPU = "prefer_gpu"
    """On the GPU where there is one; where it is not taken, on the CPU, and that is an alarm."""
    CPU = "cpu"
