"""Part of a blob over HTTP: the header that asks for it, and what the answer really holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from appliance.errors import DigestMismatch, RemoteRefused
from appliance.store.http import Answer

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Bytes `[start, end)` of a blob of `size` bytes."""

    what: str
    size: int
    start: int
    end: int

    @property
    def is_all(self) -> bool:
        return self.start == 0 and self.end == self.size

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.is_all else {"Range": f"bytes={self.start}-{self.end - 1}"}


def is_ranged(answer: Answer) -> bool:
    return answer.status == 206


def length_of(answer: Answer) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def whole_size(answer: Answer) -> int | None:
    """Of the blob, as a 200 or 206 tells it."""
    if not is_ranged(answer):
        return length_of(answer)
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return int(match[3]) if match and match[3] != "*" else None


def body_of(answer: Answer, wanted: Wanted) -> Iterator[bytes]:
    """The wanted bytes, or fewer when the stream breaks off. A server without ranges sends everything: what
    stands before `start` is read and dropped. Raises DigestMismatch when the sizes differ, RemoteRefused.
    """
    if answer.status == 416:
        raise DigestMismatch(what=wanted.what, expected=f"{wanted.size} bytes", actual="fewer")
    if answer.status not in (200, 206):
        raise answer.refused()
    size = whole_size(answer)
    if size is not None and size != wanted.size:
        raise DigestMismatch(what=wanted.what, expected=f"{wanted.size} bytes", actual=f"{size} bytes")
    if is_ranged(answer):
        _check_range(answer, wanted)
        return answer.chunks(wanted.end - wanted.start)
    return _from(answer.chunks(wanted.end), wanted.start)


def _check_range(answer: Answer, wanted: Wanted) -> None:
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != wanted.start or int(match[2]) < wanted.start:
        raise RemoteRefused(
            host=str(answer.origin), status=answer.status, reason="another range than was asked for"
        )


def _from(chunks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:] if skip else chunk
        skip = 0
