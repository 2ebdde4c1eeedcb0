"""What plans need of the headers of models that were planned lately: to read a vocabulary of 128,000 tokens
takes a tenth of a second, more on a small board.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import structs

from appliance.gguf.header import Header, read_header
from appliance.gguf.slim import slim
from appliance.planner.formulas import vocabulary_bytes

_MOST: Final = 8
"""Models; the tensors of one take some hundred kilobytes."""

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHeader:
    header: Header
    """With the tensors of all parts, without the vocabulary."""
    vocabulary_bytes: int


class KnownHeaders:
    """Owned by the planning thread."""

    def __init__(self) -> None:
        self._known: dict[_Stamp, KnownHeader] = {}

    def of(self, paths: Sequence[str], *, model: str) -> KnownHeader:
        """`paths`: all parts, in order. Raises ModelInvalid, FileUnreadable."""
        stamp = _stamp(paths)
        known = self._known.pop(stamp, None) if stamp else None
        if known is None:
            known = _read(paths, model)
        if stamp:
            self._known[stamp] = known  # the last one asked for is the last to go
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return known


def _read(paths: Sequence[str], model: str) -> KnownHeader:
    headers = [read_header(Path(path), model=model) for path in paths]
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    return KnownHeader(
        header=structs.replace(slim(headers[0]), tensors=tensors),
        vocabulary_bytes=vocabulary_bytes(headers[0]),
    )


def _stamp(paths: Sequence[str]) -> _Stamp:
    """Empty: one cannot be looked at; reading it tells why."""
    try:
        found = [(path, Path(path).stat()) for path in paths]
    except OSError:
        return ()
    return tuple((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found)
