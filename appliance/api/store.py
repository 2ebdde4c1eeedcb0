"""The store over HTTP, for the command line and for fleets.

GET  /outpost/v1/models?prefix=      what is stored
GET  /outpost/v1/models/{name}       everything about one
POST /outpost/v1/operations          {"verb": …}: pull, push, create, import, export, copy, remove,
                                     verify, gc, optimize, calibrate; answered as NDJSON (`operation.py`)
"""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api import json_body, model_access
from appliance.api.answers import OperationLine, StoredModelAnswer, StoredModelsAnswer
from appliance.api.calls import Limits
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation as Described
from appliance.api.openapi.operation import Operations, Parameter, Stream, Tag
from appliance.api.operation import Operation
from appliance.api.store_changes import StoreChanges
from appliance.errors import ModelNotFound
from appliance.store import operations
from appliance.store.answers import listed_object, shown_object
from appliance.store.verbs import StoreVerbs


class StoredModels:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Described(
            summary="What is stored",
            tag=Tag.STORE,
            answer=StoredModelsAnswer,
            parameters=(Parameter(name="prefix", about="Only names that begin so."),),
            errors=(500,),
        )
    }

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

    OPERATIONS: ClassVar[Operations] = {
        "GET": Described(
            summary="Everything about one stored model",
            tag=Tag.STORE,
            answer=StoredModelAnswer,
            path={"name": "As people write it; `/` and `:` raw or percent-encoded."},
            errors=(400, 404, 500),
        )
    }

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

    OPERATIONS: ClassVar[Operations] = {
        "POST": Described(
            summary="Have a verb of the store done",
            tag=Tag.STORE,
            body=operations.Operation,
            stream=Stream(
                media_type="application/x-ndjson",
                item=OperationLine,
                about="Progress, a line each; the last is the outcome, or an error. Closing the connection "
                "cancels it.",
            ),
            errors=(404, 422, 500, 502, 503, 507),
            about="Paths name files of the device, and only callers on it may send them.",
            example={"verb": "copy", "source": "tiny", "destination": "mine"},
        )
    }

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
