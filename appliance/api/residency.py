"""What is in memory, as an operator's wish (`POST /outpost/v1/load` and `/outpost/v1/unload`), and what could
be (`POST /outpost/v1/fit`).

All take {"model": NAME}; `load` also `keep_alive`, as every request to a model does, and `fit` how the model
is wished to be loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import falcon
from pydantic import Field

from appliance.api.answers import FitAnswer, ResidencyAnswer
from appliance.api.dialect.endpoint import Endpoint
from appliance.api.dialect.fields import Body, ModelBody, ModelName
from appliance.api.error_responses import error_object
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.planner.fit_answer import fit_object
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.inference import ModelCard
from appliance.units import MOST_CONTEXT, MOST_PARALLEL


class LoadBody(ModelBody):
    model: ModelName
    """Its name in the store or the configuration."""


class UnloadBody(Body):
    model: ModelName
    """Its name in the store or the configuration."""


class FitBody(Body):
    model: ModelName
    """Its name in the store or the configuration."""
    n_ctx_seq: Annotated[int, Field(ge=0, le=MOST_CONTEXT)] | None = None
    """Tokens per request; 0: the model's own. Default: as configured."""
    n_parallel: Annotated[int, Field(ge=1, le=MOST_PARALLEL)] | None = None
    """Requests at once. Default: as configured."""
    min_ctx: Annotated[int, Field(ge=1, le=MOST_CONTEXT)] | None = None
    """Tokens per request that it must have at least. Default: as configured."""


class Load(Endpoint):
    """Stateless; any thread. Answers when the model is ready."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Bring a model into memory",
            tag=Tag.MODELS,
            body=LoadBody,
            answer=ResidencyAnswer,
            asks_model=True,
            about="Answers when it is ready.",
            example={"model": "tiny", "keep_alive": "10m"},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(LoadBody, req, exchange)
        reply(resp, _object(self._calls.load(exchange, body.model)))


class Unload(Endpoint):
    """Stateless; any thread. Answers at once; what runs is let finish."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Put a model out of memory",
            tag=Tag.MODELS,
            body=UnloadBody,
            answer=ResidencyAnswer,
            errors=(404,),
            about="Answers at once; what runs is let finish.",
            example={"model": "tiny"},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(UnloadBody, req, exchange)
        self._calls.find(exchange, body.model)
        reply(resp, _object(self._calls.inference.unload(body.model)))


class Fit(Endpoint):
    """Stateless; any thread. A refusal is an answer too: 200, with the error inside."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Tell whether a model would fit into memory, without loading it",
            tag=Tag.MODELS,
            body=FitBody,
            answer=FitAnswer,
            errors=(404, 503, 504),
            example={"model": "tiny", "n_ctx_seq": 8192, "n_parallel": 4},
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(FitBody, req, exchange)
        wish = FitWish(n_ctx_seq=body.n_ctx_seq, n_seq_max=body.n_parallel, min_ctx=body.min_ctx)
        answer = self._calls.fit(exchange, body.model, wish)
        error = None if answer.refusal is None else error_object(answer.refusal)["error"]
        reply(resp, fit_object(answer, error, took_s=exchange.age_s()))


def _object(card: ModelCard) -> dict[str, Any]:
    return {"model": card.name, "state": card.state}
