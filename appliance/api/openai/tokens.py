"""POST /tokenize and /detokenize, with llama-server's bodies. The model may be left out where there is only
one.
"""

from __future__ import annotations

from typing import ClassVar

import falcon

from appliance.api.dialect.endpoint import Endpoint
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.openai.answers import DetokenizeAnswer, TokenizeAnswer
from appliance.api.openai.schema import DetokenizeBody, TokenizeBody
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.wire.messages import Detokenize, Tokenize


class TokenizeText(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="A text as a model's tokens",
            tag=Tag.OPENAI,
            body=TokenizeBody,
            answer=TokenizeAnswer,
            asks_model=True,
            example={"model": "tiny", "content": "hello world", "with_pieces": True},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(TokenizeBody, req, exchange)
        request = Tokenize(
            id=0,
            text=body.content,
            add_special=bool(body.add_special),
            parse_special=body.parse_special is not False,
        )
        result = self._calls.call(exchange, self._model_meant(body.model), request)
        if body.with_pieces:
            pairs = zip(result.tokens, result.pieces, strict=True)
            reply(resp, {"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pairs]})
        else:
            reply(resp, {"tokens": result.tokens})


class DetokenizeTokens(Endpoint):
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="A model's tokens as text",
            tag=Tag.OPENAI,
            body=DetokenizeBody,
            answer=DetokenizeAnswer,
            asks_model=True,
            example={"model": "tiny", "tokens": [28120, 905]},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(DetokenizeBody, req, exchange)
        request = Detokenize(id=0, tokens=body.tokens)
        result = self._calls.call(exchange, self._model_meant(body.model), request)
        reply(resp, {"content": result.text})


def _piece(piece: bytes) -> str | list[int]:
    """A token that is only part of a character is shown as its bytes, as llama-server does."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return list(piece)
