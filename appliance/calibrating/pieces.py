"""How long pieces of work are, so that enough rounds fit into the time: from a first look at the speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.wire.calibrate import Kind, Piece, Taken

FIRST_TOKENS: Final = 32
MANY: Final = 8
"""Sequences that decode at once, beside one."""
LEAD_TOKENS: Final = 8
_PREFILL_SHARE: Final = 0.006
"""Of the limit, for one piece."""
_LONG_SHARE: Final = 0.012
_DECODE_SHARE: Final = 0.003
_PATIENCE: Final = 2.0
"""A piece may take so many times as long as it should, and then ends."""
_SLOWER: Final = 6.0
"""A token decoded alone takes so many times as long as one of a prompt, or so: only for the pieces' size."""
_LEAST_PREFILL: Final = 32
_MOST_PREFILL: Final = 512
_MOST_LONG: Final = 1024
_CHUNK_TOKENS: Final = 128
_MOST_STEPS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    prefill: Piece
    long_prefill: Piece
    """Long enough to tell one ubatch from another."""
    decode: Piece
    decode_many: Piece
    chunk_tokens: int
    """Of a prompt that is measured as it grows."""
    window: int

    @property
    def all(self) -> Mapping[str, Piece]:
        return {"prefill": self.prefill, "decode": self.decode, "decode_many": self.decode_many}

    @property
    def deep(self) -> Mapping[str, Piece]:
        """Attention counts behind a prompt."""
        start = self.long_prefill.tokens
        steps = max(1, min(self.decode.tokens, self.window - start))
        most_s = self.decode.most_s
        decode = Piece(kind=Kind.DECODE, tokens=steps, start=min(start, self.window - steps), most_s=most_s)
        return {"prefill": self.long_prefill, "decode": decode}


def pieces_for(first: Taken, *, per_s: float, limit_s: float) -> Pieces:
    """`per_s`: tokens of a prompt."""
    room = max(1, first.window - LEAD_TOKENS)
    prefill = _bounded(per_s * limit_s * _PREFILL_SHARE, _LEAST_PREFILL, min(_MOST_PREFILL, room))
    long = _bounded(per_s * limit_s * _LONG_SHARE, _LEAST_PREFILL, min(_MOST_LONG, room))
    steps = _bounded(per_s / _SLOWER * limit_s * _DECODE_SHARE, 2, min(_MOST_STEPS, room // 2 or 1))
    many = max(1, min(MANY, first.width))
    lead = min(LEAD_TOKENS, max(1, first.window // 4))
    return Pieces(
        prefill=_prefill(prefill, limit_s * _PREFILL_SHARE),
        long_prefill=_prefill(long, limit_s * _LONG_SHARE),
        decode=_decode(steps, limit_s, width=1, start=lead),
        decode_many=_decode(max(1, steps // 2), limit_s, width=many, start=lead),
        chunk_tokens=min(_CHUNK_TOKENS, room),
        window=first.window,
    )


def _prefill(tokens: int, seconds: float) -> Piece:
    return Piece(kind=Kind.PREFILL, tokens=tokens, most_s=_PATIENCE * seconds)


def _decode(steps: int, limit_s: float, *, width: int, start: int) -> Piece:
    most_s = _PATIENCE * limit_s * _DECODE_SHARE
    return Piece(kind=Kind.DECODE, tokens=steps, width=width, start=start, most_s=most_s)


def _bounded(wanted: float, least: int, most: int) -> int:
    return max(1, min(max(least, int(wanted)), most))
