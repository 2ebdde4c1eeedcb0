"""When keys were last used: to the hour, and gathered in memory, so that using a key wears no flash."""

from __future__ import annotations

import threading
from typing import Final

COARSE_S: Final = 3600.0


class LastUsed:
    """Any thread. A key is noted once an hour; the lock is taken only then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}

    def note(self, key_id: str, now_s: float) -> None:
        hour_s = now_s // COARSE_S * COARSE_S
        if self._known.get(key_id) != hour_s:
            with self._lock:
                self._known[key_id] = self._unwritten[key_id] = hour_s

    def of(self, key_id: str) -> float | None:
        """None: not since the start."""
        return self._known.get(key_id)

    def take(self) -> dict[str, float]:
        """What has come since it was last asked for."""
        with self._lock:
            taken, self._unwritten = self._unwritten, {}
        return taken

    def give_back(self, taken: dict[str, float]) -> None:
        """It could not be written; what has come since then stays."""
        with self._lock:
            self._unwritten = {**taken, **self._unwritten}
