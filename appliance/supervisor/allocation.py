"""Why a load got no memory though the plan had it: the words of a runner that failed, classified. Pure.

The driver of Tegra's GPUs says `NvMapMemAllocInternalTagged: 1075072515 error 12` where it finds no room, and
ggml says `cudaMalloc failed: out of memory` on all of NVIDIA's. Since L4T 36.4.7 both come while memory is
free: large pieces fail (llama.cpp's pull request 23732 has the analysis). What the plan knows of free memory
tells the two apart: enough, then it is fragmented; not enough, then the model is too large.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from appliance.planner.facts import Ladder, Rung

_NVMAP: Final = re.compile(r"NvMapMemAlloc\w* ?:? ?\d* error 12\b|NvMapMemHandleAlloc\w*.{0,40}error 12\b")
_CUDA: Final = re.compile(r"cudaMalloc failed: out of memory|CUDA error: out of memory")


class RefusedBy(StrEnum):
    """Who has refused the memory."""

    NVMAP = "nvmap"
    CUDA = "cuda"


class Shortage(StrEnum):
    """What `InsufficientMemory.reason` says."""

    NVMAP_FRAGMENTED = "nvmap_fragmented"
    NVMAP_EXHAUSTED = "nvmap_exhausted"
    GPU_MEMORY_EXHAUSTED = "gpu_memory_exhausted"


def refused_by(words: Iterable[str]) -> RefusedBy | None:
    """From the last lines of a runner that did not load; None: it failed of something else."""
    found = None
    for line in words:
        if _NVMAP.search(line):
            return RefusedBy.NVMAP
        if _CUDA.search(line):
            found = RefusedBy.CUDA
    return found


def shortage(refused: RefusedBy, *, planned_bytes: int, free_bytes: int | None) -> Shortage:
    """`free_bytes`: what may be planned with, the failed runner gone; None: unknown, and the driver is
    believed.
    """
    if refused is RefusedBy.CUDA:
        return Shortage.GPU_MEMORY_EXHAUSTED
    is_enough = free_bytes is not None and free_bytes >= planned_bytes
    return Shortage.NVMAP_FRAGMENTED if is_enough else Shortage.NVMAP_EXHAUSTED


def below(ladder: Ladder, failed: Rung) -> Ladder | None:
    """The rungs that ask for less than the failed one; None: there are none."""
    smaller = tuple(
        rung for rung in ladder.rungs if rung.footprint.total_bytes < failed.footprint.total_bytes
    )
    if not any(rung.placement.n_seq_max <= ladder.comfortable for rung in smaller):
        return None
    return Ladder(
        model=ladder.model,
        min_ctx=ladder.min_ctx,
        rungs=smaller,
        comfortable=ladder.comfortable,
        below=ladder.below,
    )
