"""What the endpoints that ask a model have in common, below `/v1` and beside it."""

from __future__ import annotations

from typing import TypeVar

import falcon

from appliance.api import json_body, turns
from appliance.api.calls import Calls, Limits
from appliance.api.dialect.fields import Body, ModelBody
from appliance.api.dialect.validation import validated
from appliance.api.exchange import Exchange
from appliance.errors import InvalidRequest

Asked = TypeVar("Asked", bound=Body)


class Endpoint:
    """Stateless; any thread."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits

    def _body(self, kind: type[Asked], req: falcon.Request, exchange: Exchange) -> Asked:
        """The body of `req`, checked; what its headers wish of the queue is noted. Raises InvalidRequest,
        Unsupported, BodyTooLarge, or falcon's 415.
        """
        body = validated(kind, json_body.read(req, limit_bytes=self._limits.max_body_bytes), exchange)
        tier = getattr(body, "service_tier", None)
        turns.note(req, exchange, most_s=self._limits.request_timeout_s, tier=tier)
        if isinstance(body, ModelBody):
            exchange.keep_alive_s = body.keep_alive
        return body

    def _model_meant(self, told: str | None) -> str:
        """For bodies that may leave it out. Raises InvalidRequest where that is not clear."""
        if told is not None:
            return told
        names = [card.name for card in self._calls.inference.models()]
        if len(names) != 1:
            raise InvalidRequest(
                reason=f"name one of the models: {', '.join(names) or 'there is none'}", param="model"
            )
        return names[0]
