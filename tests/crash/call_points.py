"""The system calls at which a process can be hit, read from a log of `strace -f -y`.

strace counts calls for each thread: the ordinal of a call is what `inject=CALL:…:when=ORDINAL` means.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOOKING: Final = ("newfstatat", "fstat", "statfs", "pread64", "preadv", "read", "getdents64")
"""Calls that change nothing: a kill at one is a kill at the next that does."""
NOT_HIT: Final = frozenset({"mmap", "lseek", "ioctl"})

_LINE: Final = re.compile(r"(\d+)\s+(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Point:
    call: str
    ordinal: int
    """Of this call in its thread, from 1."""
    only_looks: bool = False
    """An opening that can make nothing: a kill at it is one at the next call that does."""

    @property
    def changes(self) -> bool:
        return self.call not in LOOKING and not self.only_looks


def read_points(log: Path, root: str) -> list[Point]:
    """Of one thread. Raises ValueError where there are several."""
    counts: Counter[str] = Counter()
    threads: set[str] = set()
    points = []
    for line in log.read_text(errors="replace").splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        thread, call, arguments = match.groups()
        threads.add(thread)
        counts[call] += 1
        if call not in NOT_HIT and concerns(arguments, root):
            only_looks = call == "openat" and "O_CREAT" not in arguments
            points.append(Point(call, counts[call], only_looks))
    if len(threads) != 1:
        raise ValueError(f"{len(threads)} threads: their calls come in another order each time")
    return points


def concerns(text: str, root: str) -> bool:
    """Whether a call's arguments name the root or what lies below it."""
    return re.search(re.escape(root) + r'[/">]', text) is not None


def was_hit(log: Path, root: str, *, by: str) -> bool:
    """Whether the injection took place, and at a call that concerns the root. `by`: `SIGKILL`, or the name
    of an error.
    """
    lines = log.read_text(errors="replace").splitlines()
    if by == "SIGKILL":
        calls = [line for line in lines if _LINE.match(line)]
        return any("killed by SIGKILL" in line for line in lines) and concerns(calls[-1], root)
    return any("(INJECTED)" in line and f" {by} " in line and concerns(line, root) for line in lines)
