"""From buffers as llama.cpp counts them to all that a runner takes at its peak. Pure.

The peak is that of a runner whose every cell has been used, with the largest pass that its settings allow:
what a plan must have room for. Right after the load it takes less, because cells, logits and compute
buffers take memory when they are first written.

The constants were measured on x86-64 with Python 3.11 (docs/memory.md tells how); what a board takes more or
less of is learned from its own loads (`learning.py`).
"""

from __future__ import annotations

from typing import Final

from appliance.planner.facts import Footprint
from appliance.wire.sizes import COPY_BYTES, ContextSize, Measured

_MIB: Final = 1024 * 1024

PROCESS_BYTES: Final = 59 * _MIB
"""Interpreter, numpy, llama.cpp's and our libraries: pages of files and heap; the graphs of a model."""
CELL_BYTES: Final = 320
"""Beside its keys and values: llama.cpp's table of cells, the tokens we remember of it, the look-up for
drafts."""
SLOT_BYTES: Final = 192 * 1024
"""A running sequence: sampler, text, mailbox."""
CANDIDATE_BYTES: Final = 40
"""For each token of the vocabulary, once: what the samplers sort, and copies of logits."""
THREAD_BYTES: Final = 192 * 1024
"""Touched pages of a stack, and of what libc keeps for a thread."""
HEAP_BLOCK_BYTES: Final = 4 * _MIB
"""Larger blocks are mappings of their own (`runner/identity.py`), and leave nothing behind."""
DRAFTS_BYTES: Final = 2 * _MIB
"""What verifying drafts takes beside its logits."""
OWN_THREADS: Final = 4
"""Of a runner, beside those that compute."""


def footprint(measured: Measured, *, adapters_bytes: int = 0, driver_bytes: int = 0) -> Footprint:
    """Of a placement that llama.cpp does not refuse. `driver_bytes`: what an accelerator's context takes."""
    if measured.model is None:
        raise ValueError("a placement without sizes has no footprint")
    sizes = [one for one in (measured.model, measured.draft) if one is not None]
    buffers = [buffer for size in sizes for buffer in size.buffers]
    return Footprint(
        weights_bytes=sum(buffer.weights_bytes for buffer in buffers) + adapters_bytes,
        mapped_bytes=0,
        cache_bytes=sum(_cache_bytes(one) for one in sizes),
        copy_bytes=sum(copy_bytes(one) for one in sizes),
        compute_bytes=sum(buffer.compute_bytes for buffer in buffers) + sum(one.work_bytes for one in sizes),
        output_bytes=sum(output_bytes(one) for one in sizes),
        process_bytes=PROCESS_BYTES + driver_bytes + sum(process_bytes(one) for one in sizes),
    )


def _cache_bytes(size: ContextSize) -> int:
    return sum(buffer.cache_bytes for buffer in size.buffers) - size.unused_cache_bytes


def copy_bytes(size: ContextSize) -> int:
    """Slots on their way to others: a prefix that another request shares, an exchange."""
    return min(COPY_BYTES, size.n_copied * _cache_bytes(size) // size.n_slots)


def output_bytes(size: ContextSize) -> int:
    """Logits of the largest pass. Where drafts make passes of different sizes, llama.cpp gives the buffer of
    the last largest back for a larger one, and what of that was in the heap stays.
    """
    if size.n_outputs <= size.n_slots:
        return size.output_bytes
    return size.output_bytes + min(HEAP_BLOCK_BYTES, size.output_bytes // 2) + DRAFTS_BYTES


def process_bytes(size: ContextSize) -> int:
    """What the process takes for one model beside its buffers."""
    return (
        size.vocabulary_bytes
        + size.n_vocab * CANDIDATE_BYTES
        + size.n_cells * CELL_BYTES
        + size.n_slots * SLOT_BYTES
        + (size.n_threads + OWN_THREADS) * THREAD_BYTES
    )


def resident_after_load(planned: Footprint) -> int:
    """Of a peak, what is resident when nothing has been asked yet: compares with `Ready.measured_bytes`."""
    return planned.weights_bytes + planned.mapped_bytes + planned.process_bytes
