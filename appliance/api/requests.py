"""GET /outpost/v1/requests: what is at work or waits; POST /outpost/v1/requests/ID/cancel: end it.

Each caller sees and cancels what is his own; with the scope `system`, and without keys, all.
"""

from __future__ import annotations

from typing import Any, ClassVar

import falcon

from appliance.api import json_body
from appliance.api.answers import CancelledAnswer, RequestsAnswer
from appliance.api.dialect.fields import Body
from appliance.api.dialect.validation import validated
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import encode
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.api.running import Running, sees_all
from appliance.api.visible import shown
from appliance.errors import RequestNotFound

_MAX_BODY_BYTES = 1024
_MAX_ID_CHARS = 128
_BY_ID = "by its id"


class EmptyBody(Body):
    pass


class Requests:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Who waits for a model or is served by it",
            tag=Tag.QUEUE,
            answer=RequestsAnswer,
            about="A key sees its own; one that may see the whole device sees all.",
        )
    }

    def __init__(self, running: Running) -> None:
        self._running = running

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        owner = None if sees_all(exchange) else exchange.owner
        _answer(
            resp, {"object": "list", "data": [_shown(running) for running in self._running.listed(owner)]}
        )


class CancelRequest:
    """Stateless; any thread. Answers at once; what is cancelled ends within a step."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="End a request",
            tag=Tag.QUEUE,
            answer=CancelledAnswer,
            path={"request_id": "Its `X-Request-Id`."},
            errors=(400, 404, 413, 415),
            about="Answers at once; what is cancelled ends within a step. A key cancels its own, one that "
            "may see the whole device any. No body, or an empty object.",
        )
    }

    def __init__(self, running: Running) -> None:
        self._running = running

    def on_post(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        exchange = exchange_of(req)
        if req.content_length:
            validated(EmptyBody, json_body.read(req, limit_bytes=_MAX_BODY_BYTES), exchange)
        owner = None if sees_all(exchange) else exchange.owner
        cancelled = self._running.cancel(request_id, owner, reason=_BY_ID)
        if not cancelled:
            raise RequestNotFound(request_id=shown_id(request_id))
        _answer(resp, {"object": "request.cancelled", "id": request_id, "cancelled": cancelled})


def shown_id(request_id: str) -> str:
    """An id from outside, fit for an error message."""
    return shown(request_id, _MAX_ID_CHARS)


def _answer(resp: falcon.Response, told: dict[str, Any]) -> None:
    resp.content_type = "application/json"
    resp.set_header("Cache-Control", "no-store")
    resp.data = encode(told)


def _shown(running: Exchange) -> dict[str, Any]:
    """Of a request that goes on meanwhile: each number is right, together they may be a moment apart."""
    accepted = running.accepted
    return {
        "id": running.request_id,
        "object": "request",
        "route": running.route,
        "model": running.model,
        "owner": running.owner,
        "state": _state(running),
        "stream": running.is_stream,
        "priority": running.turn.priority.value,
        "age_s": round(running.age_s(), 3),
        "prompt_tokens": accepted.prompt_tokens if accepted is not None else None,
        "output_tokens": running.output_tokens,
    }


def _state(running: Exchange) -> str:
    if running.cancelled is not None:
        return "cancelled"
    if running.first_token_s is not None:
        return "decode"
    if running.accepted is not None:
        return "prefill"
    return "waiting" if running.turn.waited_s is None else "running"
