"""A `PoolingBackend` without a model: an input's vector is a function of its tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.engine.backend import Span
from appliance.errors import EngineFault

WIDTH = 3


def vector_of(tokens: list[int]) -> list[float]:
    """Not of length one, and different for different inputs."""
    return [float(sum(tokens)), float(len(tokens)), float(tokens[0])]


class FakePooling:
    def __init__(self, *, n_slots: int = 4, n_batch: int = 16) -> None:
        self.n_slots = n_slots
        self.n_batch = n_batch
        self.batches: list[list[list[int]]] = []
        self.fail_next = 0
        self._held: list[list[int]] = []

    def clear(self) -> None:
        self._held = []

    def encode_pooled(self, spans: list[Span]) -> None:
        if self.fail_next:
            self.fail_next -= 1
            raise EngineFault(reason="told to fail")
        assert not self._held, "the last batch is still there"
        assert [span.slot for span in spans] == list(range(len(spans)))
        assert 0 < len(spans) <= self.n_slots
        assert sum(len(span.tokens) for span in spans) <= self.n_batch
        assert all(span.start == 0 and span.outputs == len(span.tokens) for span in spans)
        self._held = [list(span.tokens) for span in spans]
        self.batches.append(self._held)

    def pooled(self, slot: int, width: int) -> NDArray[np.float32]:
        return np.array(vector_of(self._held[slot])[:width], np.float32)
