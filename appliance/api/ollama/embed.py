"""POST /api/embed, and the older /api/embeddings."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import ClassVar, Final

import falcon

from appliance.api.exchange import Exchange, exchange_of
from appliance.api.json_reply import reply
from appliance.api.ollama import options
from appliance.api.ollama.answers import EmbedAnswer, EmbeddingsAnswer
from appliance.api.ollama.asking import Asking
from appliance.api.ollama.bodies import EmbedBody, EmbeddingsBody
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.fields import AskBody
from appliance.api.ollama.stamps import nanoseconds
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.errors import EngineFault, InvalidRequest
from appliance.supervisor.inference import ModelCard
from appliance.wire.messages import Embed as EmbedCall
from appliance.wire.messages import Result, Usage

_FLOAT_BYTES: Final = 4
_LEAST_NORM: Final = 1e-12


class Embed:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Texts as vectors",
            tag=Tag.OLLAMA,
            body=EmbedBody,
            answer=EmbedAnswer,
            asks_model=True,
            example={"model": "embedder", "input": ["the first text", "the second"]},
        )
    }

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange, asking = exchange_of(req), self._asking
        body = body_of(EmbedBody, req, exchange, asking.limits)
        model = required(body.model)
        warn_options(body, asking.calls.find(exchange, model), exchange)
        inputs = body.inputs
        if not inputs:
            _move(asking, exchange, model)
            reply(resp, {"model": model, "embeddings": []})
            return
        for index, text in enumerate(inputs):
            if not text:
                raise InvalidRequest(reason="an input is empty", param=f"input.{index}")
        result = embedded(asking, exchange, model, inputs, truncate=bool(body.truncate))
        vectors = [vector_of(one) for one in result.vectors]
        if body.dimensions and body.dimensions > len(vectors[0]):
            exchange.warn(f"'dimensions' is ignored: this model has {len(vectors[0])}")
        reply(
            resp,
            {
                "model": model,
                "embeddings": [shortened(vector, body.dimensions or 0) for vector in vectors],
                "total_duration": nanoseconds(exchange.age_s()),
                "load_duration": nanoseconds(exchange.turn.waited_s),
                "prompt_eval_count": result.prompt_tokens,
            },
        )


class Embeddings:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="A text as a vector, in the older form",
            tag=Tag.OLLAMA,
            body=EmbeddingsBody,
            answer=EmbeddingsAnswer,
            asks_model=True,
            example={"model": "embedder", "prompt": "a text"},
        )
    }

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange, asking = exchange_of(req), self._asking
        body = body_of(EmbeddingsBody, req, exchange, asking.limits)
        model = required(body.model)
        warn_options(body, asking.calls.find(exchange, model), exchange)
        if not body.prompt:
            _move(asking, exchange, model)
            reply(resp, {"embedding": []})
            return
        result = embedded(asking, exchange, model, [body.prompt], truncate=False)
        reply(resp, {"embedding": vector_of(result.vectors[0])})


def _move(asking: Asking, exchange: Exchange, model: str) -> None:
    asking.move(exchange, model)


def embedded(
    asking: Asking, exchange: Exchange, model: str, inputs: Sequence[str], *, truncate: bool
) -> Result:
    result = asking.calls.call(exchange, model, EmbedCall(id=0, inputs=list(inputs), truncate=truncate))
    if len(result.vectors) != len(inputs):
        raise EngineFault(reason=f"{len(result.vectors)} vectors came for {len(inputs)} inputs")
    exchange.usage = Usage(prompt_tokens=result.prompt_tokens, cached_tokens=0, completion_tokens=0)
    return result


def warn_options(body: AskBody, card: ModelCard, exchange: Exchange) -> None:
    """Raises InvalidRequest. What tells how tokens are chosen has no meaning here, and no harm."""
    for warning in options.options_of(body.options, model=card.name, defaults=card.defaults).warnings:
        exchange.warn(warning)


def vector_of(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed))


def shortened(vector: list[float], dimensions: int) -> list[float]:
    """The first so many, of length 1 again, as models are trained for it. 0: all of them."""
    if not 0 < dimensions < len(vector):
        return vector
    cut = vector[:dimensions]
    norm = max(math.sqrt(sum(value * value for value in cut)), _LEAST_NORM)
    return [value / norm for value in cut]
