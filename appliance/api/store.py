"""The store over HTTP, for the command line and for fleets.

GET  /outpost/v1/models?prefix=      what is stored
GET  /outpost/v1/models/{name}       everything about one
POST /outpost/v1/operations          {"verb": …}: pull, push, create, import, export, copy, remove,
                                     verify, gc, optimize, calibrate; answered as NDJSON (`operation.py`)
"""

from __future__ import annotations

import threading
from typing import ClassVar, Final

import falcon

from appliance import log
from appliance.access.audit import Audit
from appliance.api import json_body
from appliance.api.answers import OperationLine, StoredModelAnswer, StoredModelsAnswer
from appliance.api.calls import Limits
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.openai.endpoint import reply
from appliance.api.openapi.operation import Operation as Described
from appliance.api.openapi.operation import Operations, Parameter, Stream, Tag
from appliance.api.operation import Operation
from appliance.errors import NotAllowed, Overloaded
from appliance.store import operations
from appliance.store.answers import listed_object, shown_object
from appliance.store.content import Report
from appliance.store.operations import Outcome
from appliance.store.verbs import StoreVerbs

_log = log.logger("api")

MAX_OPERATIONS: Final = 8
"""At once; each holds a thread and may hold a disk."""
_RETRY_S: Final = 5.0


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
        listed = self._store.list(req.get_param("prefix") or "")
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

    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        reply(resp, shown_object(self._store.show(name)))


class StoreOperations:
    """Any thread; the semaphore is all it owns."""

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

    def __init__(self, store: StoreVerbs, limits: Limits, audit: Audit | None = None) -> None:
        self._store = store
        self._limits = limits
        self._audit = audit
        self._places = threading.BoundedSemaphore(MAX_OPERATIONS)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        asked = operations.parse_operation(json_body.read(req, limit_bytes=self._limits.max_body_bytes))
        if operations.paths_of(asked) and not exchange.caller.is_on_this_machine:
            raise NotAllowed(
                reason="files are named only by callers on this machine, and not through a proxy; "
                "send names and digests"
            )
        exchange.model = " ".join(operations.names_of(asked))[:256] or None
        running = Operation(
            lambda report: self._perform(asked, exchange, report),
            exchange,
            heartbeat_s=self._limits.heartbeat_s,
        )
        running.start()
        exchange.is_stream = True
        resp.content_type = "application/x-ndjson"
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = running

    def _perform(self, asked: operations.Operation, exchange: Exchange, report: Report) -> Outcome:
        """In the verb's thread, which gives the place back however late it ends."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(waiting=MAX_OPERATIONS, limit=MAX_OPERATIONS, retry_after_s=_RETRY_S)
        verb = type(asked).__name__.lower()
        try:
            outcome = operations.perform(self._store, asked, report)
        finally:
            self._places.release()
        if self._audit is not None and operations.is_audited(asked):
            self._audit.note(
                operations.event_of(asked), exchange.owner, **operations.audited_facts(asked, outcome)
            )
        _log.info("store_operation", request_id=exchange.request_id, verb=verb, **_loggable(outcome))
        return outcome


def _loggable(outcome: Outcome) -> dict[str, object]:
    return {key: value for key, value in outcome.items() if key != "broken"}
