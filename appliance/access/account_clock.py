"""The time by which quotas are counted: it never goes back, stands still at worst, and heeds no wall clock
while the machine is up.

    at a start                     goes on from what was last written, by
    the same boot                  the kernel's time since the boot, suspended time included: exact
    another boot                   the wall clock, where that has gone on
    another boot, clock gone back  nothing: the time without power counts as none
    nothing was written            zero

A board without a battery for its clock wakes in the past: its quotas then go on where they stood, neither
reset nor locked. When its clock is set later, nothing jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One moment by all clocks there are."""

    account_ns: int
    wall_ns: int
    boot: str
    boottime_ns: int


def resumed_ns(saved: Mark | None, *, wall_ns: int, boot: str, boottime_ns: int) -> int:
    """The account's time now. Pure."""
    if saved is None:
        return 0
    if boot and boot == saved.boot and boottime_ns >= saved.boottime_ns:
        return saved.account_ns + boottime_ns - saved.boottime_ns
    return saved.account_ns + max(0, wall_ns - saved.wall_ns)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Empty where it is unknown: every start is then another boot."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class AccountClock:
    """Immutable; any thread."""

    def __init__(
        self,
        saved: Mark | None = None,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        boottime_ns: Callable[[], int] = _boottime_ns,
        boot: str | None = None,
    ) -> None:
        self._wall_ns = wall_ns
        self._boottime_ns = boottime_ns
        self._boot = boot_id() if boot is None else boot
        began_ns = boottime_ns()
        resumed = resumed_ns(saved, wall_ns=wall_ns(), boot=self._boot, boottime_ns=began_ns)
        self._ahead_ns = resumed - began_ns

    def now_ns(self) -> int:
        return self._boottime_ns() + self._ahead_ns

    def mark(self) -> Mark:
        boottime_ns = self._boottime_ns()
        return Mark(
            account_ns=boottime_ns + self._ahead_ns,
            wall_ns=self._wall_ns(),
            boot=self._boot,
            boottime_ns=boottime_ns,
        )
