"""The store over HTTP, for the command line and for fleets.

GET  /outpost/v1/models?prefix=      what is stored
GET  /outpost/v1/models/{name}       everything about one
POST /outpost/v1/operations          {"verb": …}: pull, push, create, import, export, copy, remove,
                                     verify, gc, optimize, calibrate; answered as NDJSON (`operation.py`)
"""

from __future__ import annotations

import threading
from typing import Final

import falcon

from appliance import log
from appliance.access.audit import Audit
from appliance.api import json_body, model_access
from appliance.api.calls import Limits
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.openai.endpoint import reply
from appliance.api.operation import Operation
from appliance.errors import ModelNotFound, NotAllowed, Overloaded
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
    """Any thread; the semaphore is all it owns."""

    def __init__(self, store: StoreVerbs, limits: Limits, audit: Audit | None = None) -> None:
        self._store = store
        self._limits = limits
        self._audit = audit
        self._places = threading.BoundedSemaphore(MAX_OPERATIONS)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        asked = operations.parse_operation(json_body.read(req, limit_bytes=self._limits.max_body_bytes))
        model_access.require_changeable(exchange, asked)
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
        except ModelNotFound as error:
            raise model_access.unknown(exchange, str(error.fields["model"]), self._store) from error
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
