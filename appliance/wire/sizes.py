"""What crosses between the daemon and a sizer, a child that measures what placements of one model would take.

Measure ──▶     ◀── DryRunChecked or DryRunUnavailable, then Measured* (one for each placement) and Sized, or
                    LoadFailed

`DryRunChecked` comes before a file from outside is opened: a child that ends without it has failed of
llama.cpp's inside, one that ends after it has failed of the file.

The channel of these is `sizer`'s: who computes with sizes needs no sockets.
"""

from __future__ import annotations

from typing import Final

from appliance.wire.base import FromRunner, Struct, ToRunner
from appliance.wire.load import Placement


class Measure(ToRunner):
    model: str
    path: str
    """The GGUF; the first part of a split one."""
    placements: list[Placement]
    """With as many slots as they say: a `kv_cells` of 0 is no bound here."""
    paths: list[str] = []
    """All parts of a split GGUF, in order; empty: `path` is the whole model."""
    draft_path: str | None = None
    own_kernels: bool = True
    speculation: bool = True


COPY_BYTES: Final = 256 * 1024 * 1024
"""Slots are copied and exchanged through memory: so much of them is there a second time, and no more."""

MOST_COPIED: Final = 2
"""Slots at once: an exchange."""
_PAGE_BYTES: Final = 4096


class Buffer(Struct):
    """Bytes of one of ggml's buffer types."""

    type: str
    weights_bytes: int
    cache_bytes: int
    compute_bytes: int


class ContextSize(Struct):
    """One model under one placement."""

    buffers: list[Buffer]
    n_vocab: int
    n_slots: int
    n_cells: int
    """Tokens of all slots."""
    n_outputs: int
    """Rows of logits, or of embeddings, that a pass gives at most."""
    output_bytes: int
    """Of these rows, as llama.cpp hands them out."""
    n_threads: int
    work_bytes: int
    """What a pass converts activations in, beside the compute buffers."""
    vocabulary_bytes: int
    """Heap that metadata and vocabulary took in the sizer; a runner's takes as much."""
    is_mapped: bool = False
    """Its weights stay in the mapped file."""
    unused_cache_bytes: int = 0
    """Of the cache: cells past the context, which llama.cpp rounds up to, and which nobody ever writes."""
    n_copied: int = 0
    """Slots whose content may be in memory a second time, on its way to another slot."""


def unused_bytes(cache_bytes: int, share: float, *, n_streams: int) -> int:
    """Of a cache of which that share is never written. `n_streams`: layers x slots, each with keys and values
    of its own, whose last page is in part used.
    """
    return max(0, int(cache_bytes * share) - 2 * n_streams * _PAGE_BYTES)


class Measured(FromRunner):
    """A placement's sizes, or why llama.cpp refuses it."""

    index: int
    model: ContextSize | None = None
    draft: ContextSize | None = None
    fault: str | None = None


class DryRunChecked(FromRunner):
    pass


class DryRunUnavailable(FromRunner):
    reason: str


class Sized(FromRunner):
    """All placements are told."""
