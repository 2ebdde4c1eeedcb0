"""The thread that watches the machine's memory, and asks for an idle model to go when it runs short.

MemAvailable falls below the floor, or tasks wait for memory (PSI): one idle model goes, and if that was not
enough, the next one when the first is gone. Looked at so often that the first is told to go within half a
second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.log import logger

_log = logger("supervisor")

EVERY_S: Final = 0.4
_STALLED_SHARE: Final = 0.1
"""Of the time since the last look, in which some task waited for memory."""
_JOIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLook:
    """None: the kernel does not say."""

    room_bytes: int | None
    """What may still be had: MemAvailable, or less in a cgroup."""
    stalled_s: float | None
    """Since boot, the time in which some task waited for memory."""


def is_short(now: MemoryLook, before: MemoryLook, *, elapsed_s: float, floor_bytes: int) -> bool:
    """Pure. `before`: the look `elapsed_s` ago."""
    if now.room_bytes is not None and now.room_bytes < floor_bytes:
        return True
    if now.stalled_s is None or before.stalled_s is None or elapsed_s <= 0:
        return False
    return (now.stalled_s - before.stalled_s) / elapsed_s >= _STALLED_SHARE


class MemoryWatch:
    """The thread `memory-watch` owns all state; `start` and `close` are its owner's."""

    def __init__(
        self,
        look: Callable[[], MemoryLook],
        *,
        floor_bytes: int,
        relieve: Callable[[], None],
        every_s: float = EVERY_S,
    ) -> None:
        """`look` reads a few small files. `relieve` must not block."""
        self._look = look
        self._floor_bytes = floor_bytes
        self._relieve = relieve
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        before = self._look()
        was_short = False
        while not self._over.wait(self._every_s):
            now = self._look()
            short = is_short(now, before, elapsed_s=self._every_s, floor_bytes=self._floor_bytes)
            if short:
                self._relieve()
            if short != was_short:
                _log.warning("memory_short" if short else "memory_enough", room_bytes=now.room_bytes)
            before, was_short = now, short
