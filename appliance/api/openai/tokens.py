"""POST /tokenize and /detokenize, with llama-server's bodies. The model may be left out where there is only
one.
"""

from __future__ import annotations

import falcon

from appliance.api import json_body
from appliance.api.calls import Calls, Limits
from appliance.api.exchange import exchange_of
from appliance.api.openai.chunks import encode
from appliance.api.openai.schema import DetokenizeBody, TokenizeBody
from appliance.api.openai.validation import validated
from appliance.errors import InvalidRequest
from appliance.wire.messages import Detokenize, Tokenize


class TokenizeText:
    """Stateless; any thread."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = validated(TokenizeBody, json_body.read(req, limit_bytes=self._limits.max_body_bytes), exchange)
        request = Tokenize(
            id=0,
            text=body.content,
            add_special=bool(body.add_special),
            parse_special=body.parse_special is not False,
        )
        result = self._calls.call(exchange, _model_of(body.model, self._calls), request)
        resp.content_type = "application/json"
        if body.with_pieces:
            pairs = zip(result.tokens, result.pieces, strict=True)
            resp.data = encode({"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pairs]})
        else:
            resp.data = encode({"tokens": result.tokens})


class DetokenizeTokens:
    """Stateless; any thread."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = validated(
            DetokenizeBody, json_body.read(req, limit_bytes=self._limits.max_body_bytes), exchange
        )
        request = Detokenize(id=0, tokens=body.tokens)
        result = self._calls.call(exchange, _model_of(body.model, self._calls), request)
        resp.content_type = "application/json"
        resp.data = encode({"content": result.text})


def _model_of(told: str | None, calls: Calls) -> str:
    if told is not None:
        return told
    names = [card.name for card in calls.inference.models()]
    if len(names) != 1:
        raise InvalidRequest(
            reason=f"name one of the models: {', '.join(names) or 'there is none'}", param="model"
        )
    return names[0]


def _piece(piece: bytes) -> str | list[int]:
    """A token that is only part of a character is shown as its bytes, as llama-server does."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return list(piece)
