"""The values that planning is made of: what a placement takes, and the ladder of placements to choose from.

Where memory is unified there is one pool: a byte on the GPU and a byte on the host are the same byte. So a
footprint is a sum, and nothing in it is counted for one side only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import prod

from msgspec import Struct

from appliance.wire.load import Placement


class Footprint(Struct, frozen=True, kw_only=True):
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
    copy_bytes: int = 0
    """Slots that are in memory a second time, on their way to others."""
    device_bytes: int = 0
    """Of all these, what lies in memory that is the GPU's alone; 0 where memory is unified."""

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes
            + self.mapped_bytes
            + self.cache_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.copy_bytes
            + self.process_bytes
        )

    @property
    def host_bytes(self) -> int:
        """What the board's memory must hold: all of it where there is one pool."""
        return self.total_bytes - self.device_bytes


class Accelerator(StrEnum):
    """Whose memory the GPU computes in."""

    NONE = "none"
    UNIFIED = "unified"
    """The board's own: one pool."""
    DISCRETE = "discrete"
    """Its own: two pools, and layers may be moved between them."""


class Concession(StrEnum):
    """What a rung gives up against the wish; in the order in which equal prices are paid."""

    PARALLEL = "parallel"
    CONTEXT = "context"
    CACHE_TYPE = "cache_type"
    UBATCH = "ubatch"
    PROJECTOR = "projector_on_cpu"
    GPU_LAYERS = "gpu_layers"
    VARIANT = "variant"


class Conceded(Struct, frozen=True, kw_only=True):
    """One thing given up, with what was asked for and what there is instead."""

    what: Concession
    wanted: str
    got: str
    price: float = 1.0
    """What is left of the wish's worth, as a factor; 1.0 costs nothing. Where speed is given up it is the
    speed left, weighed over prefill and decode (`prices`).
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A placement that could be taken, with its size and what it gives up against the wish."""

    placement: Placement
    footprint: Footprint
    conceded: tuple[Conceded, ...] = ()
    variant: str | None = None
    """Name of the smaller model that stands in; None: the model itself."""
    is_measured: bool = field(default=False, compare=False)
    """Its size is from a dry run; else from formulas."""

    @property
    def worth(self) -> float:
        """1.0: the wish itself. Of two rungs that fit, the one of greater worth is taken."""
        return prod(one.price for one in self.conceded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All rungs for one model on one board, the best first; one at least has no more than the comfortable
    slots. Built by `ladder.build`.
    """

    model: str
    min_ctx: int
    """Tokens of context per sequence below which the caller takes none."""
    rungs: tuple[Rung, ...]
    """None is both worth less and larger than another: such a rung is never the answer."""
    comfortable: int = 4
    """Slots beyond so many are taken only where they cost nobody anything."""
    below: tuple[Rung, ...] = ()
    """The leanest placements under `min_ctx`, the longest context first: never taken, only told when nothing
    fits.
    """
