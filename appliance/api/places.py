"""How many requests the door works on at once, whatever models they want.

Each holds an HTTP thread to its end. Models bound their own queues; together they could still take every
thread, and then nobody would be left to refuse, or to answer for our health.
"""

from __future__ import annotations

import threading
from typing import Final

import falcon

from appliance.api.exchange import exchange_of
from appliance.errors import Overloaded

UNCOUNTED_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_RETRY_AFTER_S: Final = 2.0


class PlacesMiddleware:
    """Any thread. Stands behind the checks of who asks: a refused caller takes no place."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        return self._taken

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Raises Overloaded."""
        if req.path in UNCOUNTED_PATHS:
            return
        with self._lock:
            if self._taken >= self._limit:
                raise Overloaded(waiting=self._taken, limit=self._limit, retry_after_s=_RETRY_AFTER_S)
            self._taken += 1
        exchange_of(req).on_end = self._give_back

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1
