"""What is known of a quantisation before one byte is copied: whether the weights can be quantised, and the
room the result takes at most. Pure.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import InvalidRequest
from appliance.store.admission import GgufFacts

SOURCES: Final = ("F16", "BF16", "F32")
"""What llama.cpp makes other types of; all else has lost too much already."""

_WIDE_BYTES: Final = {"f32": 4, "f16": 2, "bf16": 2}
"""Of one weight."""
_NARROW_BLOCK: Final = (34, 32)
"""Bytes and weights of a block of Q8_0: the widest type that any other kind may fall back to for rows that
its own blocks do not divide.
"""
_SPARE_BYTES: Final = 64 * 1024
"""For what the quantiser adds to the metadata, and for alignment."""
_SPARE_SHARE: Final = 64
"""Norms, biases and gates stay F32 in every kind: far less than this part of all weights."""


def check_source(facts: GgufFacts, kind: str, *, model: str) -> None:
    """`kind`: llama.cpp's name of the type that is wanted. Raises InvalidRequest."""
    if facts.quantization not in SOURCES:
        raise InvalidRequest(
            reason=f"'{model}' is {facts.quantization or 'quantised'} already, and {kind} is made of "
            f"{', '.join(SOURCES[:-1])} or {SOURCES[-1]} weights only; take the model in one of these types, "
            f"or create it as it is, without {kind}",
            param="quantize",
        )


def most_bytes(facts: GgufFacts, kind: str) -> int:
    """No result is larger, so that a disk which has this room does not fill in mid-work."""
    beside = facts.size_bytes - facts.weight_bytes + _SPARE_BYTES + facts.parameters // _SPARE_SHARE
    if wide := _WIDE_BYTES.get(kind):
        return beside + facts.parameters * wide
    block_bytes, block_items = _NARROW_BLOCK
    return beside + -(-facts.parameters * block_bytes // block_items)
