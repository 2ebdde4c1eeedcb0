"""Tokens per second of one runner, from the totals its heartbeats carry."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 10.0
_MAX_READINGS: Final = 256
"""A runner that beats faster than it should shortens the window and fills no memory."""


class Throughput:
    """Owned by the runner's reader thread; `per_s` may be read by any."""

    def __init__(self) -> None:
        self.per_s = 0.0
        """Over the last `WINDOW_S` of heartbeats, or as many as there were."""
        self._readings: deque[tuple[float, int]] = deque(maxlen=_MAX_READINGS)

    def observe(self, total_tokens: int, now_s: float) -> None:
        """`total_tokens`: generated since the runner started. It is a runner's word: it may be nonsense."""
        readings = self._readings
        readings.append((now_s, total_tokens))
        while len(readings) > 2 and now_s - readings[1][0] >= WINDOW_S:
            readings.popleft()
        then_s, then_tokens = readings[0]
        elapsed_s = now_s - then_s
        self.per_s = max(0.0, (total_tokens - then_tokens) / elapsed_s) if elapsed_s > 0 else 0.0
