"""What is in memory, as an operator's wish: `POST /outpost/v1/load` and `/outpost/v1/unload`.

Both take {"model": NAME}; `load` also `keep_alive`, as every request to a model does.
"""

from __future__ import annotations

from typing import Any

import falcon

from appliance.api.exchange import exchange_of
from appliance.api.openai.endpoint import Endpoint, reply
from appliance.api.openai.fields import Body, ModelBody, ModelName
from appliance.supervisor.inference import ModelCard


class LoadBody(ModelBody):
    model: ModelName


class UnloadBody(Body):
    model: ModelName


class Load(Endpoint):
    """Stateless; any thread. Answers when the model is ready."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(LoadBody, req, exchange)
        reply(resp, _object(self._calls.load(exchange, body.model)))


class Unload(Endpoint):
    """Stateless; any thread. Answers at once; what runs is let finish."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = self._body(UnloadBody, req, exchange)
        self._calls.find(exchange, body.model)
        reply(resp, _object(self._calls.inference.unload(body.model)))


def _object(card: ModelCard) -> dict[str, Any]:
    return {"model": card.name, "state": card.state}
