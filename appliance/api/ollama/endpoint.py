"""What the Ollama endpoints have in common: the body, of any Content-Type, and its unknown fields told."""

from __future__ import annotations

from itertools import islice
from typing import Final, TypeVar

import falcon
import pydantic

from appliance.api import json_body, turns
from appliance.api.calls import Limits
from appliance.api.dialect.fields import ModelBody
from appliance.api.dialect.validation import checked
from appliance.api.exchange import Exchange
from appliance.api.ollama.fields import unknown_fields
from appliance.errors import InvalidRequest

Body = TypeVar("Body", bound=pydantic.BaseModel)

_MOST_TOLD: Final = 8


def body_of(kind: type[Body], req: falcon.Request, exchange: Exchange, limits: Limits) -> Body:
    """The body of `req`, checked; what its headers wish of the queue is noted. Raises InvalidRequest,
    BodyTooLarge, or falcon's 415.
    """
    body = checked(kind, _read(req, limits))
    for path in islice(unknown_fields(body), _MOST_TOLD):
        exchange.warn(f"'{path}' is ignored: it is unknown here")
    turns.note(req, exchange, most_s=limits.request_timeout_s)
    if exchange.wants_progress:
        exchange.warn(f"'{turns.PROGRESS}' is ignored: lines of JSON have no comments")
        exchange.wants_progress = False
    if isinstance(body, ModelBody):
        exchange.keep_alive_s = body.keep_alive
    return body


def required(told: str | None, *, what: str = "model") -> str:
    """Raises InvalidRequest in Ollama's words."""
    if not told:
        raise InvalidRequest(reason=f"{what} is required")
    return told


def _read(req: falcon.Request, limits: Limits) -> dict[str, object]:
    """Ollama's clients send no Content-Type, or the one that curl makes up. A web page cannot do so unseen:
    browsers tell where a request comes from, and then it must be JSON, which they ask us about first.
    """
    if not req.content_length and req.get_header("Transfer-Encoding") is None:
        raise InvalidRequest(reason="missing request body")
    if req.get_header("Origin") or req.get_header("Sec-Fetch-Site"):
        return json_body.read(req, limit_bytes=limits.max_body_bytes)
    return json_body.read_untyped(req, limit_bytes=limits.max_body_bytes)
