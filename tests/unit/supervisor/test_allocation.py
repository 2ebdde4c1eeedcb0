"""The last words of a runner that got no memory."""

from __future__ import annotations

import pytest

from appliance.planner.facts import Ladder
from appliance.supervisor.allocation import RefusedBy, Shortage, below, refused_by, shortage
from tests.unit.supervisor.residency_scene import GIB, rung

NVMAP = "NvMapMemAllocInternalTagged: 1075072515 error 12"
CUDA = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1918.35 MiB on device 0: cudaMalloc failed: "
    "out of memory"
)


def test_the_two_lines_are_told_apart_in_either_order() -> None:
    assert refused_by([NVMAP, CUDA, "failed to load model"]) is RefusedBy.NVMAP
    assert refused_by([CUDA, NVMAP]) is RefusedBy.NVMAP
    assert refused_by(["NvMapMemHandleAlloc: error 12"]) is RefusedBy.NVMAP
    assert refused_by([CUDA]) is RefusedBy.CUDA


@pytest.mark.parametrize(
    "line",
    [
        "",
        "NvMapMemAllocInternalTagged: 1075072515 error 4",
        "error 12",
        "NvMapMemAllocInternalTagged: 1075072515 error 123",
        "cudaMalloc failed: invalid argument",
        "unknown model architecture: 'out of memory'",
    ],
)
def test_other_words_are_another_fault(line: str) -> None:
    assert refused_by([line]) is None


def test_enough_by_the_plan_is_fragmented_and_less_is_exhausted() -> None:
    def told(refused: RefusedBy, free_bytes: int | None) -> Shortage:
        return shortage(refused, planned_bytes=100, free_bytes=free_bytes)

    assert told(RefusedBy.NVMAP, 100) is Shortage.NVMAP_FRAGMENTED
    assert told(RefusedBy.NVMAP, 99) is Shortage.NVMAP_EXHAUSTED
    assert told(RefusedBy.NVMAP, None) is Shortage.NVMAP_EXHAUSTED
    assert told(RefusedBy.CUDA, 1000) is Shortage.GPU_MEMORY_EXHAUSTED


def test_below_are_the_rungs_that_ask_for_less_in_their_order() -> None:
    rungs = (
        rung(4, n_ctx_seq=4096),
        rung(5, n_ctx_seq=3000),
        rung(3, n_ctx_seq=2048),
        rung(2, n_ctx_seq=1024),
    )
    ladder = Ladder(model="m", min_ctx=512, rungs=rungs)
    lower = below(ladder, rungs[0])
    assert lower is not None
    assert [one.placement.n_ctx_seq for one in lower.rungs] == [2048, 1024]
    assert lower.rungs[0].footprint.total_bytes == 3 * GIB
    assert below(ladder, rungs[3]) is None
