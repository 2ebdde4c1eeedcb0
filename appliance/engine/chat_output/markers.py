"""Finding markers in text that arrives in pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def held_from(text: str, markers: Iterable[str]) -> int:
    """Where the longest suffix of `text` begins that may be the start of a marker; len(text) if none."""
    return min((_held_from(text, marker) for marker in markers), default=len(text))


def _held_from(text: str, marker: str) -> int:
    start = max(0, len(text) - len(marker) + 1)
    while (start := text.find(marker[0], start)) >= 0:
        if marker.startswith(text[start:]):
            return start
        start += 1
    return len(text)


def first_marker(text: str, markers: Iterable[str]) -> tuple[int, str] | None:
    """The earliest whole marker in `text`, and where."""
    found = [(at, marker) for marker in markers if (at := text.find(marker)) >= 0]
    return min(found, default=None)
