"""The seam between the engine and llama.cpp: what `Engine` and `KvCache` need of a context, and no more.

`engine/llama` implements it; the tests' `FakeBackend` is one more implementation (deterministic next token,
slots as lists).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one slot in one batch."""

    slot: int
    start: int
    """Position of the first token."""
    tokens: Sequence[int]
    outputs: int
    """How many of the last tokens want logits."""


class SlotStore(Protocol):
    """Contents of the KV cache's slots."""

    n_slots: int
    n_ctx_seq: int

    def truncate(self, slot: int, n_tokens: int) -> bool:
        """Keep the first `n_tokens`. False: this kind of memory cannot be cut there; nothing changed."""

    def first_position(self, slot: int) -> int:
        """The first position still held; -1 when empty. Above 0 in a sliding-window cache that moved on."""

    def slot_bytes(self, slot: int) -> int:
        """How large `read_slot` would be now."""

    def read_slot(self, slot: int) -> NDArray[np.uint8]: ...

    def write_slot(self, slot: int, data: NDArray[np.uint8]) -> None: ...


class Backend(SlotStore, Protocol):
    """A context: slots, and compute over them. Used by the engine's thread only."""

    n_vocab: int
    n_batch: int

    def decode(self, spans: Sequence[Span]) -> None:
        """Compute a batch, spans in ascending slot order. Raises EngineFault."""

    def logits(self, row: int) -> NDArray[np.float32]:
        """float32[n_vocab] of the batch's output number `row`; a view, valid until the next decode, that
        may be written.
        """

    def set_threads(self, n_threads: int) -> None: ...

    def set_adapters(self, scales: Sequence[tuple[str, float]]) -> None: ...


class Sampler(Protocol):
    """Sampling state of one sequence."""

    def sample(self, logits: NDArray[np.float32], candidates: Any) -> int | None:
        """None: all is said. Raises RequestError when what was asked for cannot go on."""

    def accept(self, token: int) -> None:
        """Raises RequestError as `sample` does."""

    def close(self) -> None: ...


class Vocabulary(Protocol):
    """The little the engine must know of tokens."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The token's bytes; a control token's are empty unless `special`."""

    def is_end(self, token: int) -> bool: ...
