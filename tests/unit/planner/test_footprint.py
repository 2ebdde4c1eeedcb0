"""From buffers to all that a runner takes."""

from __future__ import annotations

import pytest
from msgspec import structs

from appliance.planner.footprint import (
    CANDIDATE_BYTES,
    CELL_BYTES,
    OWN_THREADS,
    PROCESS_BYTES,
    SLOT_BYTES,
    THREAD_BYTES,
    footprint,
)
from appliance.wire.sizes import COPY_BYTES, Buffer, ContextSize, Measured, unused_bytes


def size(*buffers: Buffer, n_vocab: int = 1000, n_slots: int = 2) -> ContextSize:
    return ContextSize(
        buffers=list(buffers),
        n_vocab=n_vocab,
        n_slots=n_slots,
        n_cells=512,
        n_outputs=n_slots,
        output_bytes=4 * n_vocab * n_slots,
        n_threads=3,
        work_bytes=50,
        vocabulary_bytes=7000,
    )


def buffer(kind: str, weights: int, cache: int, compute: int) -> Buffer:
    return Buffer(type=kind, weights_bytes=weights, cache_bytes=cache, compute_bytes=compute)


MODEL = size(buffer("CPU", 100, 20, 3), buffer("CPU_REPACK", 400, 0, 0), buffer("CUDA0", 1000, 200, 30))
OWN_BYTES = (
    7000 + 1000 * CANDIDATE_BYTES + 512 * CELL_BYTES + 2 * SLOT_BYTES + (3 + OWN_THREADS) * THREAD_BYTES
)


def test_all_buffer_types_are_one_pool() -> None:
    found = footprint(Measured(index=0, model=MODEL))
    assert found.weights_bytes == 1500
    assert found.cache_bytes == 220
    assert found.compute_bytes == 33 + 50
    assert found.output_bytes == 8000
    assert found.mapped_bytes == 0
    assert found.process_bytes == PROCESS_BYTES + OWN_BYTES
    assert found.total_bytes == 1500 + 220 + 83 + 8000 + PROCESS_BYTES + OWN_BYTES


def test_a_draft_model_adds_its_own_and_no_second_process() -> None:
    alone = footprint(Measured(index=0, model=MODEL))
    beside = footprint(Measured(index=0, model=MODEL, draft=size(buffer("CPU", 10, 2, 1), n_vocab=1000)))
    assert beside.weights_bytes - alone.weights_bytes == 10
    assert beside.cache_bytes - alone.cache_bytes == 2
    assert beside.compute_bytes - alone.compute_bytes == 1 + 50
    assert beside.output_bytes - alone.output_bytes == 8000
    assert beside.process_bytes - alone.process_bytes == OWN_BYTES


def test_slots_on_their_way_to_others_are_in_memory_twice() -> None:
    of_four = structs.replace(MODEL, n_slots=4, n_copied=2)
    assert footprint(Measured(index=0, model=of_four)).copy_bytes == 110


def test_more_than_a_copy_may_take_is_not_counted() -> None:
    large = structs.replace(size(buffer("CPU", 0, 8 << 30, 0)), n_copied=1)
    assert footprint(Measured(index=0, model=large)).copy_bytes == COPY_BYTES == 256 << 20


def test_cells_past_the_context_take_nothing() -> None:
    found = footprint(Measured(index=0, model=structs.replace(MODEL, unused_cache_bytes=50, n_copied=1)))
    assert found.cache_bytes == 170
    assert found.copy_bytes == 85


def test_of_cells_that_nobody_writes_the_last_page_in_part_written_counts() -> None:
    assert unused_bytes(1 << 20, 0.25, n_streams=4) == (1 << 18) - 2 * 4 * 4096
    assert unused_bytes(4096, 0.25, n_streams=4) == 0
    assert unused_bytes(1 << 20, 0.0, n_streams=0) == 0


def test_adapters_and_a_driver_are_counted() -> None:
    plain = footprint(Measured(index=0, model=MODEL))
    found = footprint(Measured(index=0, model=MODEL), adapters_bytes=77, driver_bytes=88)
    assert found.weights_bytes == plain.weights_bytes + 77
    assert found.process_bytes == plain.process_bytes + 88


def test_a_placement_that_is_refused_has_none() -> None:
    with pytest.raises(ValueError, match="without sizes"):
        footprint(Measured(index=0, fault="V cache quantization requires flash_attn"))
