"""`context` of /api/generate: what was said so far, as a list of whole numbers that a client sends back.

In Ollama these are token ids. Nobody reads them but Ollama; here they are the conversation itself, so that it
is shown to the model by its template, as chat does, and nothing has to be tokenised for it:

    [MARK, bytes, CRC-32 >> 1, three bytes each …]     of the JSON [[role, text], …]

Every number is below 2^31, which is all that some clients can hold.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.errors import InvalidRequest

MARK: Final = 0x4F50_5354
MAX_BYTES: Final = 256 * 1024
"""Of text; a longer conversation is for /api/chat."""
_HEAD: Final = 3
_STEP: Final = 3
MAX_INTS: Final = _HEAD + (MAX_BYTES + _STEP - 1) // _STEP
_ROLES: Final = frozenset({"system", "user", "assistant"})

Said = Sequence[tuple[str, str]]
"""(role, text)."""


def packed(said: Said) -> list[int] | None:
    """None: it is too long to be carried so."""
    content = msgspec.json.encode(said)
    if len(content) > MAX_BYTES:
        return None
    steps = range(0, len(content), _STEP)
    return [
        MARK,
        len(content),
        _sum(content),
        *(int.from_bytes(content[at : at + _STEP], "big") for at in steps),
    ]


def unpacked(context: Sequence[int]) -> list[tuple[str, str]]:
    """Raises InvalidRequest for what `packed` has not made."""
    if not context:
        return []
    try:
        return _read(context)
    except (ValueError, OverflowError) as error:  # msgspec's errors are ValueErrors
        raise InvalidRequest(
            reason="it is not the context of an answer of this Outpost (Ollama's token ids are not taken): "
            "send it as it came, or the conversation to /api/chat",
            param="context",
        ) from error


def _read(context: Sequence[int]) -> list[tuple[str, str]]:
    mark, size, checksum = context[:_HEAD]
    if mark != MARK or not 0 < size <= MAX_BYTES or len(context) != _HEAD + (size + _STEP - 1) // _STEP:
        raise ValueError(mark)
    whole, last = divmod(size, _STEP)
    lengths = [_STEP] * whole + [last] * bool(last)
    content = b"".join(
        number.to_bytes(length, "big") for number, length in zip(context[_HEAD:], lengths, strict=True)
    )
    if _sum(content) != checksum:
        raise ValueError(checksum)
    said = msgspec.json.decode(content, type=list[tuple[str, str]])
    if any(role not in _ROLES for role, _ in said):
        raise ValueError(said)
    return said


def _sum(content: bytes) -> int:
    return zlib.crc32(content) >> 1
