"""Bounds of connections and threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_UNSENT_BYTES: Final = 256 * 1024
"""Per connection; waitress's own default is 16 MiB."""
MAX_HEADER_BYTES: Final = 32 * 1024
SPARE_CONNECTIONS: Final = 256
"""Idle keep-alive connections beside those that work."""
_SPARE_THREADS: Final = 32
"""Above what the queue admits: for refusals, health and metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds of connections and threads."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_concurrent: int = 640
    """Requests that the app works on at once (`places.py`); those it refuses need a thread for a moment."""
    idle_s: float = 75.0
    """A connection without a request is closed after this."""
    read_s: float = 120.0
    """Within this a request must have come whole, header and body."""
    stall_s: float = 30.0
    """An answer of which nothing could be sent for so long is given up."""

    @property
    def max_threads(self) -> int:
        return self.max_concurrent + _SPARE_THREADS
