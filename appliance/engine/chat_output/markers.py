"""Finding a marker in text that arrives in pieces. Pure."""

from __future__ import annotations


def held_from(text: str, marker: str) -> int:
    """Where the longest suffix of `text` begins that may be the start of `marker`; len(text) if none."""
    start = max(0, len(text) - len(marker) + 1)
    while (start := text.find(marker[0], start)) >= 0:
        if marker.startswith(text[start:]):
            return start
        start += 1
    return len(text)
