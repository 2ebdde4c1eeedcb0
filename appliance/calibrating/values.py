"""What a calibration asks for and hears: orders, what came of them, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from appliance.wire.calibrate import Piece, Taken
from appliance.wire.load import Placement


class Axis(StrEnum):
    """What may be set otherwise, in the order of its measuring."""

    THREADS = "threads"
    UBATCH = "ubatch"
    FLASH_ATTENTION = "flash_attention"
    LAYOUT = "layout"
    """Whether weights are laid out for fast kernels, and for whose."""
    CACHE = "cache"
    """The price of a q8_0 KV cache; never chosen here: it loses quality."""
    LOAD = "load"
    POWER = "power"
    """Modes of a Jetson's power; shown, never chosen: they are the operator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way to serve the model."""

    placement: Placement
    own_kernels: bool
    power_mode: int | None = None
    """nvpmodel's number; None: whatever the board is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Measure this."""

    axis: Axis
    label: str
    """Of the setup, for people: `threads 4`."""
    test: str
    """prefill | decode | decode_many | load."""
    setup: Setup
    piece: Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of it."""

    taken: Taken | None
    spent_s: float
    """Since the beginning, without waits for a quiet machine."""
    fault: str | None = None
    """Why nothing was taken."""
    joules: float | None = None
    """Of the piece; None: no rail tells, or it was too short."""

    @property
    def per_s(self) -> float | None:
        """Tokens, or loads."""
        if self.taken is None or self.taken.seconds <= 0:
            return None
        return max(1, self.taken.tokens) / self.taken.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setup of an axis as it was measured; medians."""

    label: str
    per_s: Mapping[str, float] = field(default_factory=dict)
    """Tokens per second by test; of `load`, loads per second."""
    spread: float | None = None
    """Of its speeds over the rounds, as a share: median deviation from the median."""
    ratio: float | None = None
    """To the default."""
    rounds: int = 0
    joules_per_token: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisFound:
    axis: Axis
    default: str
    kept: str
    rows: tuple[Row, ...] = ()
    text: str = ""
    """Why it was not measured, or not decided; empty: the rows say all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be otherwise than by default; None: nothing."""

    n_threads: int | None = None
    n_ubatch: int | None = None
    flash_attention: str | None = None
    repack: bool | None = None
    own_kernels: bool | None = None
    use_mmap: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePrices:
    """Time of a q8_0 KV cache over f16's, at a depth of `planner.prices`."""

    prefill: float
    decode: float
    depth_tokens: int
    """As deep as was measured; the rest of the way is a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    axes: tuple[AxisFound, ...]
    choice: Choice
    cache: CachePrices | None
    ubatch: tuple[tuple[int, float], ...]
    """(ubatch, time of a prefill against the fastest)."""
    others_share: float | None
    """Of the time of all cores, what others computed; None: unknown."""
    spent_s: float
