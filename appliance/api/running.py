"""The requests to models that are at work or wait, so that they can be listed, and cancelled by their ids.

A cancel is a wish: it makes `Exchange.gone` true, which every wait for a model asks at least every 0.25 s, in
the queue, before the first token and between tokens (`sse.POLL_S`). So it frees what the request holds in
the same way, and as soon, as a client that hangs up; only this client hears why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import falcon

from appliance.access.scopes import Scope
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.route_scopes import asks_model


class Running:
    """Any thread. As many as the door admits (`places.py`)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: dict[Exchange, None] = {}

    def enter(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges[exchange] = None

    def leave(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.pop(exchange, None)

    def listed(self, owner: str | None) -> Sequence[Exchange]:
        """Those of `owner`, or all; in the order in which they came."""
        with self._lock:
            return [exchange for exchange in self._exchanges if owner in {None, exchange.owner}]

    def cancel(self, request_id: str, owner: str | None, *, reason: str) -> int:
        """All with this id, of `owner` or of anybody: clients may use an id twice. How many there were."""
        found = [exchange for exchange in self.listed(owner) if exchange.request_id == request_id]
        for exchange in found:
            exchange.cancelled = reason
        return len(found)


class RunningMiddleware:
    """Any thread. Stands behind the checks of who asks, and what."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        if not asks_model(req.uri_template or "", req.method):
            return
        exchange = exchange_of(req)
        exchange.route = req.uri_template
        exchange.on_end = self._ending(exchange, exchange.on_end)
        self._running.enter(exchange)

    def _ending(self, exchange: Exchange, before: Callable[[], None] | None) -> Callable[[], None]:
        def end() -> None:
            self._running.leave(exchange)
            if before is not None:
                before()

        return end


def sees_all(exchange: Exchange) -> bool:
    """Whether its caller may see and cancel what others ask."""
    return exchange.may(Scope.SYSTEM)
