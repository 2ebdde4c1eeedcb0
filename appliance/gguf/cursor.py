"""Reads the front of a file piece by piece, with every length checked before a byte is allocated for it."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable
from typing import Final

from appliance.gguf.values import StringArray

_READ_BYTES: Final = 1024 * 1024
_LENGTH: Final = struct.Struct("<Q")


Pread = Callable[[int, int, int], bytes]
"""Reads of a descriptor so many bytes at an offset, as `os.pread` does."""


class Malformed(Exception):
    """What is wrong with the bytes; never leaves this package (`header` makes a ModelInvalid of it)."""


class Cursor:
    """A place in a file that moves forwards. Holds at most one item and one read of the file in memory.

    Owned by the thread that reads. The file must not shrink meanwhile; if it does, that is `Malformed`, too.
    """

    def __init__(
        self, descriptor: int, *, size_bytes: int, limit_bytes: int, pread: Pread = os.pread
    ) -> None:
        """Reads at most `limit_bytes` of a file of `size_bytes`."""
        self._descriptor = descriptor
        self._pread = pread
        self._size_bytes = size_bytes
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._begin = 0
        """Offset in the file of the buffer's first byte."""
        self._at = 0
        """Offset in the buffer of the next byte to take."""

    @property
    def offset(self) -> int:
        """Bytes of the file that were taken."""
        return self._begin + self._at

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int | float, ...]:
        self._need(layout.size, what)
        values = layout.unpack_from(self._buffer, self._at)
        self._at += layout.size
        return values

    def integer(self, layout: struct.Struct, what: str) -> int:
        return int(self.unpack(layout, what)[0])

    def string(self, limit_bytes: int, what: str) -> bytes:
        length = self.integer(_LENGTH, what)
        if length > limit_bytes:
            raise Malformed(f"{what} has {length} bytes, more than {limit_bytes}")
        return self.take(length, what)

    def take(self, length: int, what: str) -> bytes:
        self._need(length, what)
        taken = bytes(memoryview(self._buffer)[self._at : self._at + length])
        self._at += length
        return taken

    def strings(self, count: int, limit_bytes: int, what: str) -> StringArray:
        """`count` strings in a row, none longer than `limit_bytes`."""
        self._need(count * _LENGTH.size, what)
        starts = array("I")
        add, length_of = starts.append, _LENGTH.unpack_from
        origin = self._at
        relative = 0
        for index in range(count):
            if len(self._buffer) < origin + relative + _LENGTH.size:
                self._need(relative + _LENGTH.size, what)
                origin = self._at
            (length,) = length_of(self._buffer, origin + relative)
            if length > limit_bytes:
                raise Malformed(f"item {index} of {what} has {length} bytes, more than {limit_bytes}")
            relative += _LENGTH.size
            add(relative)
            relative += length
        return StringArray(self.take(relative, what), starts)

    def _need(self, length: int, what: str) -> None:
        """Have `length` bytes behind the place in the buffer; the buffer may move to do so."""
        end = self.offset + length
        if end > self._size_bytes:
            raise Malformed(f"the file ends at byte {self._size_bytes}, within {what}")
        if end > self._limit_bytes:
            raise Malformed(f"its header has more than {self._limit_bytes} bytes")
        if self._at + length <= len(self._buffer):
            return
        del self._buffer[: self._at]
        self._begin += self._at
        self._at = 0
        while len(self._buffer) < length:
            self._read(max(_READ_BYTES, length - len(self._buffer)), what)

    def _read(self, length: int, what: str) -> None:
        place = self._begin + len(self._buffer)
        piece = self._pread(self._descriptor, min(length, self._size_bytes - place), place)
        if not piece:
            raise Malformed(f"the file became shorter while it was read, within {what}")
        self._buffer += piece
