"""Give the page cache back and join free memory: what helps a driver that finds no room in one piece.

Only root may (`/proc/sys/vm`), and a hardened service may not: then it is told, with the commands. Takes up
to seconds: never on a thread that decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STEPS: Final = (("proc/sys/vm/drop_caches", "3"), ("proc/sys/vm/compact_memory", "1"))
BY_HAND: Final = "sync; echo 3 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    done: tuple[str, ...]
    """Files that took the wish."""
    refused: tuple[str, ...]
    """Files that did not, each with the error's name."""


def reclaim(top: Path) -> Reclaimed:
    """`top` is `/`, or the directory of a simulated board. Never raises; creates nothing."""
    os.sync()
    done, refused = list[str](), list[str]()
    for path, word in _STEPS:
        try:
            descriptor = os.open(top / path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(descriptor, word.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            refused.append(f"/{path}: {error.strerror}")
        else:
            done.append(f"/{path}")
    return Reclaimed(done=tuple(done), refused=tuple(refused))
