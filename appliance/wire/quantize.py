"""What crosses between the daemon and a quantiser, a child that makes one file of another and ends.

Quantize ──▶     ◀── Loading*, then Quantized or LoadFailed
"""

from __future__ import annotations

import socket
from typing import Final, Union

from appliance.wire.base import FromRunner, ToRunner
from appliance.wire.channel import Channel
from appliance.wire.load import LoadFailed, Loading

KINDS: Final = (
    *("f32", "f16", "bf16", "q8_0", "q6_K", "q5_K_M", "q5_K_S", "q5_1", "q5_0"),
    *("q4_K_M", "q4_K_S", "q4_1", "q4_0", "q3_K_L", "q3_K_M", "q3_K_S", "q2_K", "q2_K_S", "q2_0", "q1_0"),
    *("iq4_nl", "iq4_xs", "iq3_m", "iq3_s", "iq3_xs", "iq3_xxs", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs"),
    *("iq1_m", "iq1_s", "tq2_0", "tq1_0", "mxfp4_moe"),
)
"""llama.cpp's names of file types that it can write, the most precise first."""

_ALIASES: Final = {"q5_k": "q5_K_M", "q4_k": "q4_K_M", "q3_k": "q3_K_M"}
_BY_FOLDED: Final = {**{kind.casefold(): kind for kind in KINDS}, **_ALIASES}


def kind_of(name: str) -> str | None:
    """The entry of `KINDS` that is meant, in any case, also by llama.cpp's short names; None: none is."""
    return _BY_FOLDED.get(name.strip().casefold())


class Quantize(ToRunner):
    path: str
    """The GGUF. The parts of a split one are found beside it, by llama.cpp's names."""
    paths: list[str]
    """All files that are read, for the sandbox."""
    output_fd: int
    """Open for writing, empty: the only file that may be written."""
    output_limit_bytes: int
    kind: str
    """One of `KINDS`."""
    model: str
    allow_requantize: bool = False
    n_threads: int = 0
    """0: all cores."""


class Quantized(FromRunner):
    size_bytes: int


QuantizerMessage = Union[Loading, Quantized, LoadFailed]


def daemon_end(sock: socket.socket) -> Channel[QuantizerMessage]:
    return Channel(sock, QuantizerMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def quantizer_end(sock: socket.socket) -> Channel[Quantize]:
    return Channel(sock, Quantize)
