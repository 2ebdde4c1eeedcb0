"""One request and its answer as the log and the metrics see it: who, what, how many tokens, how long, how it
ended.

Never holds prompts or outputs. Made by the middleware, filled along flow 1, told to the observer once at the
end.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import falcon

from appliance import log
from appliance.access.grants import Grant
from appliance.access.scopes import Scope
from appliance.api.caller import Caller
from appliance.api.metering import Meter
from appliance.api.others_names import refusal_for
from appliance.api.token_gaps import TokenGaps
from appliance.api.visible import visible
from appliance.errors import Cancelled, ClientGone, InsufficientMemory
from appliance.histogram import Histogram
from appliance.supervisor.turn import Asker, Priority, Turn
from appliance.wire.messages import Accepted, FinishReason, Usage

_log = log.logger("api")
_ERROR: Final = 400
"""And above."""
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class Observer(Protocol):
    """Who counts (`telemetry/prometheus.py`). Called from any thread."""

    def exchange_ended(self, exchange: Exchange) -> None: ...

    def waiting(self) -> AbstractContextManager[None]:
        """Around the wait for `Accepted`."""


class Exchange:
    """Owned by the thread that serves the request; read by the observer when it is over, and by who lists
    what runs.
    """

    __slots__ = (
        "_first_token_s",
        "_observer",
        "_queued_s",
        "_started_s",
        "_token_gaps",
        "_total_s",
        "accepted",
        "caller",
        "cancelled",
        "disconnected",
        "error_code",
        "finish_reason",
        "grant",
        "is_stream",
        "keep",
        "keep_alive_s",
        "meter",
        "method",
        "model",
        "on_end",
        "output_tokens",
        "owner",
        "placement",
        "request_id",
        "route",
        "scope",
        "status",
        "traceparent",
        "turn",
        "usage",
        "wants_progress",
        "warnings",
    )

    def __init__(
        self, *, request_id: str, method: str, gone: Callable[[], bool], observer: Observer | None
    ) -> None:
        self.request_id = request_id
        self.method = method
        self.cancelled: str | None = None
        """Why it is not wanted any more though its client is there. Any thread may set it."""
        self.route: str | None = None
        self.caller = Caller(address="")
        self.owner = ""
        """Whom the queue is fair to: the key's id, or the caller's address."""
        self.grant: Grant | None = None
        """Of its key; None: no key is needed here."""
        self.scope = ""
        """Within which prefixes are reused."""
        self.model: str | None = None
        self.keep_alive_s: float | None = None
        """How long its model stays in memory afterwards; None: as long as configured."""
        self.keep: Callable[[Any], Any] | None = None
        """Makes of its stream the body of an answer that can be resumed (`resuming/`); None: not wished."""
        self.placement: str | None = None
        """How that model is placed; it goes out as `X-Outpost-Placement`."""
        self.accepted: Accepted | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.error_code: str | None = None
        self.status = 0
        self.is_stream = False
        self.traceparent: str | None = None
        """As its header has it (W3C Trace Context), unchecked."""
        self.turn = Turn(request_id=request_id)
        """What it wishes of the queue, and what it heard of it."""
        self.wants_progress = False
        """It takes an early status to hear how it stands."""
        self.warnings: list[str] = []
        self.meter: Meter | None = None
        """Who counts its tokens; None: it asks no model, or nobody keeps accounts."""
        self.on_end: Callable[[], None] | None = None
        """Called once, when the answer has been sent or given up."""
        self.output_tokens = 0
        """So far."""
        self.disconnected = gone
        """Cheap; True once the client has closed the connection."""
        self._observer = observer
        self._started_s = time.perf_counter()
        self._queued_s: float | None = None
        self._first_token_s: float | None = None
        self._token_gaps: TokenGaps | None = None
        self._total_s: float | None = None

    @property
    def queued_s(self) -> float | None:
        """From the first byte to `Accepted`."""
        return self._queued_s

    @property
    def first_token_s(self) -> float | None:
        return self._first_token_s

    @property
    def token_gaps(self) -> Histogram | None:
        """Between the tokens of its answer; None: there was none."""
        return self._token_gaps.histogram if self._token_gaps is not None else None

    @property
    def total_s(self) -> float:
        return self._total_s if self._total_s is not None else self.age_s()

    @property
    def key_id(self) -> str:
        """Empty: no key was sent."""
        return self.grant.key_id if self.grant is not None else ""

    def may(self, scope: Scope) -> bool:
        """Whether it may see or do what only that scope opens; where no key is needed, everybody may."""
        return self.grant is None or scope in self.grant.scopes

    def sees(self, model: str) -> bool:
        """Whether it may use that model, and know of it."""
        return self.grant is None or self.grant.allows(model)

    def age_s(self) -> float:
        return time.perf_counter() - self._started_s

    def gone(self) -> bool:
        """Cheap; True once nobody wants the answer: the client has left, or it was cancelled by its id."""
        return self.cancelled is not None or self.disconnected()

    def outlive(self, gone: Callable[[], bool]) -> None:
        """Its connection may end without it; from now on `gone` says whether it is still wanted."""
        self.disconnected = gone

    def told(self, error: Exception) -> Exception:
        """`error` as the caller is to hear it: who was cancelled by his id is still there to hear so, and no
        key hears of models that it may not see.
        """
        if isinstance(error, InsufficientMemory):
            return refusal_for(error, self.sees)
        if self.cancelled is None or not isinstance(error, ClientGone):
            return error
        self.finish_reason = FinishReason.CANCELLED
        return Cancelled(reason=self.cancelled)

    def asker(self) -> Asker:
        """Its request, before a model."""
        if self.grant is not None and self.grant.bounds.background_only:
            self.turn.priority = Priority.BACKGROUND
        return Asker(owner=self.owner, turn=self.turn, gone=self.gone, keep_alive_s=self.keep_alive_s)

    def mark_accepted(self, accepted: Accepted) -> None:
        self.accepted = accepted
        self._queued_s = self.age_s()

    def waiting(self) -> AbstractContextManager[None]:
        """Around the wait for `Accepted`."""
        return self._observer.waiting() if self._observer else nullcontext()

    def timeout_s(self, longest_s: float) -> float:
        """How long it may take in all: `longest_s`, or less by its own deadline."""
        deadline_s = self.turn.deadline_s
        return longest_s if deadline_s is None else min(longest_s, deadline_s)

    def mark_token(self, choice: int = 0, tokens: int = 1) -> None:
        """Tokens of a choice are here. For every step of every stream, so it takes no lock."""
        now_s = time.perf_counter()
        self.output_tokens += tokens
        if self._token_gaps is None:
            self._first_token_s, self._token_gaps = now_s - self._started_s, TokenGaps()
        self._token_gaps.mark(choice, tokens, now_s)

    def warn(self, text: str) -> None:
        """Name something that was accepted and not honoured; it goes out as `X-Outpost-Warning`.

        What callers named may hold anything: here it becomes what a header can hold, visible ASCII.
        """
        self.warnings.append(visible(text))

    def end(self) -> None:
        """Tell the log and the observer. Idempotent."""
        if self._total_s is not None:
            return
        self._total_s = self.age_s()
        if self.on_end is not None:
            self.on_end()
        if self.meter is not None:
            served_s = 0.0 if self._queued_s is None else self._total_s - self._queued_s
            self.meter.end(failed=self.error_code is not None or self.status >= _ERROR, served_s=served_s)
        _log.info(log.REQUEST, **{key: value for key, value in self._facts().items() if value is not None})
        if self._observer is not None:
            self._observer.exchange_ended(self)

    def _facts(self) -> dict[str, Any]:
        usage, accepted, meter = self.usage, self.accepted, self.meter
        return {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.route or "unmatched",
            "status": self.status,
            "error": self.error_code,
            "client_gone": True if self.disconnected() else None,
            "owner": self.owner or None,
            "key": self.grant.key_id if self.grant else None,
            "client": self.caller.address or None,
            "model": self.model,
            "stream": True if self.is_stream else None,
            "priority": None if self.turn.priority is Priority.REALTIME else self.turn.priority.value,
            "prompt_tokens": usage.prompt_tokens if usage else accepted.prompt_tokens if accepted else None,
            "cached_tokens": usage.cached_tokens if usage else None,
            "output_tokens": usage.completion_tokens if usage else meter.output_tokens if meter else None,
            "queue_ms": _ms(self.queued_s),
            "first_token_ms": _ms(self.first_token_s),
            "total_ms": _ms(self.total_s),
            "finish_reason": self.finish_reason,
        }


def exchange_of(req: falcon.Request, *, observer: Observer | None = None) -> Exchange:
    """The exchange of `req`, made on first use: falcon refuses some requests before any middleware ran."""
    found = getattr(req.context, "exchange", None)
    if isinstance(found, Exchange):
        return found
    made = Exchange(
        request_id=request_id_of(req.get_header("X-Request-Id")),
        method=req.method,
        gone=req.env.get("waitress.client_disconnected", _never),
        observer=observer,
    )
    made.traceparent = req.get_header("traceparent")
    req.context.exchange = made
    return made


def request_id_of(told: str | None) -> str:
    """The client's own id if it is harmless in a header and a log line, else a new one."""
    return told if told is not None and _SANE_ID.fullmatch(told) else f"req_{secrets.token_hex(12)}"


def _never() -> bool:
    """Without waitress (tests) no client ever hangs up."""
    return False


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
