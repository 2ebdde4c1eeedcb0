"""How much memory a plan may use: pure, from one reading of the board.

    budget = min(MemAvailable, limit of the cgroup - its usage) - reserve

Swap counts as nothing: it pushes other programs out, never a GPU's buffers, and a model that is swapped is
of no use. On unified memory what the GPU has free is the same bytes as what the host has available, so there
is no second number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

_MIB: Final = 1024 * 1024
_LEAST_RESERVE: Final = 512 * _MIB
_SMALL_BOARD: Final = 8
"""Below 4 GiB an eighth stands for the least reserve: the same at 4 GiB, and never most of a board."""
_SHARE_PERCENT: Final = 8


class Bound(StrEnum):
    """What the budget comes from."""

    MEM_AVAILABLE = "MemAvailable"
    CGROUP = "cgroup"


class Reading(Struct, frozen=True, kw_only=True):
    """Of the board now. None: the kernel does not say, or there is no limit."""

    total_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None = None
    cgroup_usage_bytes: int | None = None
    """Without pages that would be given back, such as those of files."""


class Budget(Struct, frozen=True, kw_only=True):
    bytes: int
    """Never negative."""
    total_bytes: int
    available_bytes: int
    """Before the reserve."""
    reserve_bytes: int
    bound: Bound


def reserve(total_bytes: int) -> int:
    """What stays free for all others: 8 % of the board, at least 512 MiB."""
    return max(total_bytes * _SHARE_PERCENT // 100, min(_LEAST_RESERVE, total_bytes // _SMALL_BOARD))


def budget(reading: Reading, *, reserve_bytes: int = 0) -> Budget:
    """`reserve_bytes` 0: chosen by the board's size."""
    available, bound = max(0, reading.available_bytes), Bound.MEM_AVAILABLE
    if reading.cgroup_limit_bytes is not None:
        left = max(0, reading.cgroup_limit_bytes - (reading.cgroup_usage_bytes or 0))
        if left < available:
            available, bound = left, Bound.CGROUP
    kept = reserve_bytes or reserve(reading.total_bytes)
    return Budget(
        bytes=max(0, available - kept),
        total_bytes=reading.total_bytes,
        available_bytes=available,
        reserve_bytes=kept,
        bound=bound,
    )
