"""What a collection leaves that no name leads to, and the time for which it does. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROTECTED_S: Final = 3600.0
"""The grace of what came lately, unless a shorter one is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Blobs of one reason that stay for now."""

    blobs: int = 0
    size_bytes: int = 0
    """What the disk will gain when they go."""
    first_in_s: float | None = None
    """When the first of them can go; None: nobody knows."""
    last_in_s: float | None = None


NOTHING_KEPT: Final = Kept()
