"""The axis of the KV cache: f16 and q8_0 in turn, chunk by chunk into one prompt, as deep as time allows."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.calibrating.axes import placed
from appliance.calibrating.cache_price import DEPTH_TOKENS, LEAST_DEPTH_TOKENS, Chunk, Measured, cache_prices
from appliance.calibrating.pieces import Pieces
from appliance.calibrating.values import Axis, AxisFound, CachePrices, Order, Row, Setup, Told
from appliance.wire.calibrate import Kind, Piece

PLAIN: Final = "KV f16"
SMALL: Final = "KV q8_0"
_DECODES: Final = 3
"""Pieces at each end."""
_KEPT_SHARE: Final = 0.25
"""Of the time, for the steps behind the prompt."""


@dataclass(slots=True)
class _Taken:
    prefill: list[Chunk] = field(default_factory=list)
    decode: list[Chunk] = field(default_factory=list)


class _Cut(Exception):
    """One of the two cannot be measured."""


def cache_course(
    best: Setup, pieces: Pieces, *, until_s: float, spent_s: float
) -> Generator[Order, Told, tuple[AxisFound, CachePrices | None]]:
    setups = {PLAIN: best, SMALL: placed(best, type_k="q8_0", type_v="q8_0")}
    taken = {PLAIN: _Taken(), SMALL: _Taken()}
    text = ""
    try:
        yield from _measure(setups, taken, pieces, until_s=until_s, spent_s=spent_s)
    except _Cut as cut:
        text = str(cut)
    prices = cache_prices(_measured(taken[PLAIN]), _measured(taken[SMALL]))
    rows = tuple(_row(label, one) for label, one in taken.items())
    if prices is not None:
        text = (
            f"q8_0 takes {prices.prefill:.2f}x the time of a prefill and {prices.decode:.2f}x of a decode "
            f"at a depth of {DEPTH_TOKENS} tokens (measured to {prices.depth_tokens})"
        )
    elif not text:
        depth = max((chunk.start + chunk.tokens for chunk in taken[SMALL].prefill), default=0)
        text = f"no price: measured to {depth} tokens, {LEAST_DEPTH_TOKENS} are the least"
    return AxisFound(axis=Axis.CACHE, default=PLAIN, kept=PLAIN, rows=rows, text=text), prices


def _measure(
    setups: dict[str, Setup], taken: dict[str, _Taken], pieces: Pieces, *, until_s: float, spent_s: float
) -> Generator[Order, Told, None]:
    kept_s = _KEPT_SHARE * max(0.0, until_s - spent_s)
    start, now_s = 0, spent_s
    steps = pieces.decode.tokens
    for number in range(_DECODES):
        for label in _turn(number):
            piece = msgspec.structs.replace(pieces.decode, tokens=steps)
            chunk, now_s = yield from _take(setups, label, "decode", piece)
            taken[label].decode.append(chunk)
    number = 0
    while start + pieces.chunk_tokens + steps <= pieces.window and now_s < until_s - kept_s:
        for label in _turn(number):
            piece = Piece(kind=Kind.PREFILL, tokens=pieces.chunk_tokens, start=start)
            chunk, now_s = yield from _take(setups, label, "prefill", piece)
            taken[label].prefill.append(chunk)
        start, number = start + pieces.chunk_tokens, number + 1
    for number in range(_DECODES):
        for label in _turn(number):
            if now_s > until_s:
                return
            piece = msgspec.structs.replace(pieces.decode, tokens=steps, start=start)
            chunk, now_s = yield from _take(setups, label, "decode", piece)
            taken[label].decode.append(chunk)


def _turn(number: int) -> tuple[str, str]:
    return (PLAIN, SMALL) if number % 2 == 0 else (SMALL, PLAIN)


def _take(
    setups: dict[str, Setup], label: str, test: str, piece: Piece
) -> Generator[Order, Told, tuple[Chunk, float]]:
    told = yield Order(axis=Axis.CACHE, label=label, test=test, setup=setups[label], piece=piece)
    if told.taken is None or told.taken.tokens <= 0 or told.taken.seconds <= 0:
        raise _Cut(f"{label}: {told.fault or 'nothing was measured'}")
    taken = told.taken
    return Chunk(start=piece.start, tokens=taken.tokens, seconds=taken.seconds), told.spent_s


def _measured(taken: _Taken) -> Measured:
    return Measured(prefill=tuple(taken.prefill), decode=tuple(taken.decode))


def _row(label: str, taken: _Taken) -> Row:
    speeds = {
        test: sum(chunk.tokens for chunk in chunks) / sum(chunk.seconds for chunk in chunks)
        for test, chunks in (("prefill", taken.prefill), ("decode", taken.decode))
        if chunks
    }
    return Row(label=label, per_s=speeds, rounds=len(taken.prefill), text="")
