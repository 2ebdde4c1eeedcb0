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
from appliance.api import json_body
from appliance.api.calls import Limits
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.openai.endpoint import reply
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

    def __init__(self, store: StoreVerbs) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        listed = self._store.list(req.get_param("prefix") or "")
        reply(resp, {"models": [listed_object(model) for model in listed]})


class StoredModel:
    """Stateless; any thread. Names hold `/` and `:`: the rest of the path is the name."""

    def __init__(self, store: StoreVerbs) -> None:
        self._store = store

    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        reply(resp, shown_object(self._store.show(name)))


class Performer:
    """Does verbs, a bounded number at once over all doors. Any thread; the semaphore is all it owns."""

    def __init__(self, store: StoreVerbs, audit: Audit | None = None) -> None:
        """`audit`: who is told of changes; None: nobody."""
        self._store = store
        self._audit = audit
        self._places = threading.BoundedSemaphore(MAX_OPERATIONS)

    def perform(self, asked: operations.Operation, exchange: Exchange, report: Report) -> Outcome:
        """In the verb's thread, which gives the place back however late it ends. Raises Overloaded, and what
        the verb raises.
        """
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


class StoreOperations:
    """Stateless; any thread."""

    def __init__(self, performer: Performer, limits: Limits) -> None:
        self._performer = performer
        self._limits = limits

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
            lambda report: self._performer.perform(asked, exchange, report),
            exchange,
            heartbeat_s=self._limits.heartbeat_s,
        )
        running.start()
        exchange.is_stream = True
        resp.content_type = "application/x-ndjson"
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = running


def _loggable(outcome: Outcome) -> dict[str, object]:
    return {key: value for key, value in outcome.items() if key != "broken"}
