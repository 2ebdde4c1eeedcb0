"""Sets of Unicode code points as inclusive ranges. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_CODE_POINT: Final = 0x10FFFF


def complement(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """All that is in none of them, in order; they may overlap and come in any order."""
    free: list[tuple[int, int]] = []
    low = 0
    for start, end in sorted(ranges):
        if start > low:
            free.append((low, start - 1))
        low = max(low, end + 1)
    if low <= MAX_CODE_POINT:
        free.append((low, MAX_CODE_POINT))
    return free
