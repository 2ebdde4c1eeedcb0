"""What crosses between the daemon and a bench: a child that measures one model under any placement.

    Bench, Take ──▶     ◀── Loading*, then Taken or NotTaken for each Take; LoadFailed and its end for a model
                            that cannot be measured at all

Whoever drives it decides what is measured and when: the child computes nothing between an answer and the next
`Take`. It keeps what it has loaded as long as nothing else must be.
"""

from __future__ import annotations

import socket
from enum import StrEnum
from typing import Union

from appliance.wire.base import FromRunner, Struct, ToRunner
from appliance.wire.channel import Channel
from appliance.wire.load import LoadFailed, Loading, Placement


class Kind(StrEnum):
    LOAD = "load"
    """Load the model anew."""
    PREFILL = "prefill"
    """`tokens` of one sequence that holds `start` already."""
    DECODE = "decode"
    """`tokens` steps of `width` sequences that hold `start` each."""


class Piece(Struct):
    """A second of work or so."""

    kind: Kind
    tokens: int = 0
    width: int = 1
    start: int = 0
    most_s: float = 30.0
    """Past it, it ends with what is done: others may compute, too."""


class Bench(ToRunner):
    """First of all."""

    model: str
    paths: list[str]
    """The GGUF, or all parts of a split one, in order."""
    window: int
    """Most tokens that a sequence is to hold."""
    width: int
    """Most sequences that decode at once."""
    most_models: int = 1
    """Loads of the model that memory has room for at once."""


class Take(ToRunner):
    placement: Placement
    """Its threads, ubatch, flash attention, repack, load mode and types of the cache count here."""
    own_kernels: bool
    piece: Piece


class Taken(FromRunner):
    tokens: int
    """Of all sequences together."""
    seconds: float
    """Of the piece alone: what had to be loaded or computed before is not in it. Of steps the median counts,
    as often as there were steps: one that had to wait for others' work says nothing of this board.
    """
    n_threads: int
    window: int
    """What a sequence can hold: the model may be made for less than was asked."""
    width: int
    elapsed_s: float = 0.0
    """Of the piece alone, as it was."""
    is_mapped: bool = False
    """The weights stay in the mapped file."""
    kernels: str = ""
    """Our kernels, where weights are laid out for them."""
    others_share: float | None = None
    """Of the time of all cores meanwhile: what others computed, 0 to 1; None: too short to tell."""


class NotTaken(FromRunner):
    """This placement is impossible, others may not be."""

    reason: str


BenchMessage = Union[Loading, Taken, NotTaken, LoadFailed]
BenchOrder = Union[Bench, Take]


def daemon_end(sock: socket.socket) -> Channel[BenchMessage]:
    return Channel(sock, BenchMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def bench_end(sock: socket.socket) -> Channel[BenchOrder]:
    return Channel(sock, BenchOrder)  # type: ignore[arg-type]
