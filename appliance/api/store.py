"""The store over HTTP, for the command line and for fleets.

GET  /outpost/v1/models?prefix=      what is stored
GET  /outpost/v1/models/{name}       everything about one
POST /outpost/v1/operations          {"verb": …}: pull, push, create, import, export, copy, remove,
                                     verify, gc, optimize, calibrate; answered as NDJSON (`operation.py`)
"""

from __future__ import annotations

import falcon

from appliance.api import json_body, model_access
from appliance.api.calls import Limits
from appliance.api.exchange import exchange_of
from appliance.api.openai.endpoint import reply
from appliance.api.operation import Operation
from appliance.api.store_changes import StoreChanges
from appliance.errors import ModelNotFound
from appliance.store import operations
from appliance.store.answers import listed_object, shown_object
from appliance.store.verbs import StoreVerbs


class StoredModels:
    """Stateless; any thread."""

    def __init__(self, store: StoreVerbs) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        listed = [
            model for model in self._store.list(req.get_param("prefix") or "") if exchange.sees(model.name)
        ]
        reply(resp, {"models": [listed_object(model) for model in listed]})


class StoredModel:
    """Stateless; any thread. Names hold `/` and `:`: the rest of the path is the name."""

    def __init__(self, store: StoreVerbs) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        exchange = exchange_of(req)
        model_access.require_seen(exchange, name, self._store)
        try:
            shown = self._store.show(name)
        except ModelNotFound as error:
            raise model_access.unknown(exchange, name, self._store) from error
        reply(resp, shown_object(shown))


class StoreOperations:
    """Stateless; any thread."""

    def __init__(self, changes: StoreChanges, limits: Limits) -> None:
        self._changes = changes
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        asked = operations.parse_operation(json_body.read(req, limit_bytes=self._limits.max_body_bytes))
        self._changes.require(exchange, asked)
        running = Operation(
            lambda report: self._changes.perform(asked, exchange, report),
            exchange,
            heartbeat_s=self._limits.heartbeat_s,
        )
        running.start()
        exchange.is_stream = True
        resp.content_type = "application/x-ndjson"
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = running
