"""How every door changes the store: what the key may, a bound on how many at once, and the audit log.

on the request's thread   require      the key's models; files of this machine for callers on it
where the verb runs       perform      the verb itself, told to the audit log when it is durable
"""

from __future__ import annotations

import threading
from typing import Final

from appliance import log
from appliance.access.audit import Audit
from appliance.api import model_access
from appliance.api.exchange import Exchange
from appliance.errors import ModelNotFound, NotAllowed, Overloaded
from appliance.store import operations
from appliance.store.content import Report
from appliance.store.operations import Operation, Outcome
from appliance.store.verbs import StoreVerbs

_log = log.logger("api")

MAX_OPERATIONS: Final = 8
"""At once; each holds a thread and may hold a disk."""
_RETRY_S: Final = 5.0


class StoreChanges:
    """Any thread; the semaphore is all it owns."""

    def __init__(self, store: StoreVerbs, audit: Audit | None = None) -> None:
        """`audit` None: nobody is told."""
        self._store = store
        self._audit = audit
        self._places = threading.BoundedSemaphore(MAX_OPERATIONS)

    @property
    def store(self) -> StoreVerbs:
        """To read."""
        return self._store

    def require(self, exchange: Exchange, asked: Operation) -> None:
        """Raises ModelNotAllowed, NotAllowed, InvalidReference."""
        model_access.require_changeable(exchange, asked)
        if operations.paths_of(asked) and not exchange.caller.is_on_this_machine:
            raise NotAllowed(
                reason="files are named only by callers on this machine, and not through a proxy; "
                "send names and digests"
            )
        exchange.model = " ".join(operations.names_of(asked))[:256] or None

    def perform(self, asked: Operation, exchange: Exchange, report: Report) -> Outcome:
        """In the verb's thread, which gives the place back however late it ends. Raises Overloaded,
        ModelNotFound with the models that the key may see, and what the verb raises.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(waiting=MAX_OPERATIONS, limit=MAX_OPERATIONS, retry_after_s=_RETRY_S)
        try:
            outcome = operations.perform(self._store, asked, report)
        except ModelNotFound as error:
            raise model_access.unknown(exchange, str(error.fields["model"]), self._store) from error
        finally:
            self._places.release()
        if self._audit is not None and operations.is_audited(asked):
            facts = operations.audited_facts(asked, outcome)
            self._audit.note(operations.event_of(asked), exchange.owner, **facts)
        verb = type(asked).__name__.lower()
        _log.info("store_operation", request_id=exchange.request_id, verb=verb, **_loggable(outcome))
        return outcome


def _loggable(outcome: Outcome) -> dict[str, object]:
    return {key: value for key, value in outcome.items() if key != "broken"}
