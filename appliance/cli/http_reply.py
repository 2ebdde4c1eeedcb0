"""Reads one HTTP/1.1 reply (RFC 9112), after which its connection is closed.

The standard library's reader does no more for this client, and to load it, with the parsers of mail, and TLS
for an address without, took a third of the time of `outpost list`. Strict where it matters: a body has one
framing, and one that ends before its time is no body.
"""

from __future__ import annotations

import io
import re
from typing import BinaryIO, Final, Protocol

MOST_LINE_BYTES: Final = 64 * 1024
MOST_HEADERS: Final = 100
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?\r?\n")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?\n")
_WITHOUT_BODY: Final = frozenset({204, 304})


class NoHttp(Exception):
    """What came is no reply of HTTP/1.1."""


class BrokenOff(Exception):
    """The connection ended before the reply did."""


class Source(Protocol):
    """A socket's file, or another buffered one."""

    def readline(self, limit: int, /) -> bytes: ...

    def read1(self, size: int, /) -> bytes: ...


class Reply:
    """Status and headers have been read; the body comes as it is asked for."""

    def __init__(self, file: Source) -> None:
        """Raises NoHttp, BrokenOff, OSError; so do the others."""
        self.status, self._headers = _head(file)
        while self.status < 200:  # told before the reply: 100 and 103
            self.status, self._headers = _head(file)
        self._body: BinaryIO = io.BufferedReader(_Body(file, *self._framing()))

    def header(self, name: str) -> str | None:
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """All that have the name, which is given in small letters."""
        return [value for known, value in self._headers if known == name]

    def read(self, most_bytes: int = -1) -> bytes:
        return self._body.read(most_bytes)

    def readline(self, most_bytes: int) -> bytes:
        return self._body.readline(most_bytes)

    def _framing(self) -> tuple[int | None, bool]:
        """The body's length, or None: to the end of the connection; and whether it comes in chunks."""
        if self.status in _WITHOUT_BODY:
            return 0, False
        coding = self.header("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise NoHttp("its body is coded as nobody asked for")
            return 0, True
        lengths = set(self.headers("content-length"))
        if not lengths:
            return None, False
        length = lengths.pop()
        if lengths or not _LENGTH.fullmatch(length):
            raise NoHttp("its body has no length, or several")
        return int(length), False


class _Body(io.RawIOBase):
    """As the bytes come: none is waited for while there are others."""

    def __init__(self, file: Source, left: int | None, is_chunked: bool) -> None:  # noqa: FBT001 - as told above
        self._file = file
        self._left = left
        """Bytes of the chunk, or of the whole body; None: to the end of the connection."""
        self._is_chunked = is_chunked
        self._is_first = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader gives no other
        if self._is_chunked and self._left == 0:
            self._next_chunk()
        if self._left == 0:
            return 0
        data = self._file.read1(len(buffer) if self._left is None else min(len(buffer), self._left))
        if self._left is not None:
            if not data:
                raise BrokenOff
            self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def _next_chunk(self) -> None:
        if not self._is_first and _line(self._file) not in {b"\r\n", b"\n"}:
            raise NoHttp("a chunk is longer than it says")
        self._is_first = False
        found = _CHUNK.fullmatch(_line(self._file))
        if found is None:
            raise NoHttp("a chunk has no length")
        self._left = int(found[1], 16)
        if self._left == 0:
            self._is_chunked = False
            _fields(self._file)  # trailers, which say nothing here


def _head(file: Source) -> tuple[int, list[tuple[str, str]]]:
    line = file.readline(MOST_LINE_BYTES)
    if not line:
        raise BrokenOff
    found = _STATUS.fullmatch(line)
    if found is None:
        raise NoHttp("its first line has no status")
    return int(found[1]), _fields(file)


def _fields(file: Source) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    while (line := _line(file)) not in {b"\r\n", b"\n"}:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise NoHttp("a header is none")
        if len(fields) == MOST_HEADERS:
            raise NoHttp("it has too many headers")
        fields.append((name.lower(), value.strip(" \t\r\n")))
    return fields


def _line(file: Source) -> bytes:
    line = file.readline(MOST_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise NoHttp("a line is too long") if len(line) == MOST_LINE_BYTES else BrokenOff
    return line
