"""The Range header of RFC 9110, as far as blobs need it: one range of bytes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ONE: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `[start, end)`."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


class Unsatisfiable(Exception):
    """The range begins behind the end of the content: 416."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """None: the whole is meant; so it is for several ranges and for what is malformed, which a server may
    ignore. Raises Unsatisfiable.
    """
    match = _ONE.fullmatch(header.strip()) if header is not None else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return _suffix(int(match[2]), size)
    start, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, min(last + 1, size))


def _suffix(length: int, size: int) -> ByteRange:
    """The last `length` bytes."""
    if length == 0 or size == 0:
        raise Unsatisfiable
    return ByteRange(max(0, size - length), size)
