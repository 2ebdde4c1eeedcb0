"""What crosses between the daemon and a judge, a child that compares two files of one model and ends.

    Judge ──▶        ◀── Loading*, then Step, each answered by Go, and in the end Judged or LoadFailed

Lock-step: the child computes nothing between `Step` and `Go`, so whoever drives it decides when this machine
is quiet enough to be measured, and has a measurement taken again that was disturbed.
"""

from __future__ import annotations

import socket
from typing import Union

from appliance.wire.base import FromRunner, Struct, ToRunner
from appliance.wire.channel import Channel
from appliance.wire.load import LoadFailed, Loading, Placement


class Judge(ToRunner):
    model: str
    original: list[str]
    """The GGUF, or all parts of a split one, in order."""
    candidate: list[str]
    placement: Placement
    """As the model is served: its threads, ubatch and types of the cache count here."""
    own_kernels: bool
    text: str
    tokens: int
    """At most so many of the text are judged."""
    widths: list[int]
    """Sequences that decode at once, ascending."""
    rounds: int
    max_kl: float
    """Past it there is no use in measuring speed."""
    limit_s: float
    """Of computing, loading not counted: then what was found so far must do. Two rounds, and one window of
    the text, are done in any case.
    """


class Go(ToRunner):
    again: bool = False
    """What was just measured was disturbed."""


class Step(FromRunner):
    """A piece of work is done."""

    done: int
    total: int
    name: str
    """quality | speed: what comes next."""


class Figures(Struct):
    """Speed of one file on this machine; medians over the rounds."""

    prefill_per_s: float
    """Tokens of one prompt."""
    decode_per_s: dict[int, float]
    """Tokens of all sequences together, by how many sequences decode at once."""


class Divergence(Struct):
    """How far the candidate's next-token distributions are from the original's."""

    tokens: int
    """Positions that were compared."""
    mean: float
    """Kullback-Leibler divergence of the candidate from the original, in nats; so are the next two."""
    p99: float
    greatest: float
    same_top: float
    """Share of positions at which both hold the same token for the most likely, 0 to 1."""
    original_perplexity: float
    candidate_perplexity: float


class Judged(FromRunner):
    divergence: Divergence
    n_threads: int
    original: Figures | None = None
    """None, as the next: it loses too much, and its speed is of no interest."""
    candidate: Figures | None = None
    others_share: float | None = None
    """Of the time of all cores while speed was measured: what others computed, 0 to 1; None: unknown."""


JudgeMessage = Union[Loading, Step, Judged, LoadFailed]
JudgeOrder = Union[Judge, Go]


def daemon_end(sock: socket.socket) -> Channel[JudgeMessage]:
    return Channel(sock, JudgeMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def judge_end(sock: socket.socket) -> Channel[JudgeOrder]:
    return Channel(sock, JudgeOrder)  # type: ignore[arg-type]
