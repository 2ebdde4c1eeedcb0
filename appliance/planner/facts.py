"""The values that planning is made of: what a placement takes, and the ladder of placements to choose from.

Where memory is unified there is one pool: a byte on the GPU and a byte on the host are the same byte. So a
footprint is a sum, and nothing in it is counted for one side only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from appliance.wire.messages import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes that a runner takes with one model under one placement, at its peak."""

    weights_bytes: int
    """Buffers of weights of all types: plain, repacked, interleaved, on a device."""
    mapped_bytes: int
    """Pages of the mapped file that are resident beside the buffers, where weights are copied."""
    cache_bytes: int
    """KV cells and recurrent states, when every cell has been touched."""
    compute_bytes: int
    output_bytes: int
    process_bytes: int
    """Interpreter, libraries, vocabulary, and what a driver takes for a context."""

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes
            + self.mapped_bytes
            + self.cache_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.process_bytes
        )


class Concession(StrEnum):
    """What a rung gives up against the one above."""

    PARALLEL = "parallel"
    CONTEXT = "context"
    CACHE_TYPE = "cache_type"
    UBATCH = "ubatch"
    PROJECTOR = "projector_on_cpu"
    GPU_LAYERS = "gpu_layers"
    VARIANT = "variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conceded:
    """One thing given up, with what was asked for and what there is instead."""

    what: Concession
    wanted: str
    got: str
    price: float = 1.0
    """Speed left, as a factor on tokens per second; 1.0 costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A placement that could be taken, with its size and what it gives up against the wish."""

    placement: Placement
    footprint: Footprint
    conceded: tuple[Conceded, ...] = ()
    variant: str | None = None
    """Name of the smaller model that stands in; None: the model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All rungs for one model on one board, the best first."""

    model: str
    min_ctx: int
    """Tokens of context per sequence below which the caller takes none."""
    rungs: tuple[Rung, ...]
