"""GET /healthz (is the daemon alive), /readyz (would a request be served), /metrics (Prometheus text)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import falcon

from appliance.api.openai.chunks import encode
from appliance.supervisor.inference import Inference, ModelCard

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SERVABLE: Final = frozenset({"ready", "stopped", "draining"})
"""Runner states in which the next request is taken; a stopped model is loaded for it."""

Details = Callable[[], Mapping[str, Any]]


class Health:
    """Stateless; any thread. `details` gives what other parts report (sandbox level, version …)."""

    def __init__(self, inference: Inference, details: Details | None) -> None:
        self._inference = inference
        self._details = details

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        told = {"status": "ok", "models": [_state(card) for card in self._inference.models()]}
        resp.content_type = "application/json"
        resp.data = encode({**(self._details() if self._details else {}), **told})


class Readiness:
    """Stateless; any thread. 503 while every model is starting or failed, and where there is none."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        cards = self._inference.models()
        is_ready = any(card.state in _SERVABLE for card in cards)
        resp.status = falcon.HTTP_200 if is_ready else falcon.HTTP_503
        resp.content_type = "application/json"
        resp.data = encode(
            {"status": "ready" if is_ready else "not ready", "models": [_state(card) for card in cards]}
        )


class Metrics:
    """Stateless; any thread."""

    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = METRICS_TYPE
        resp.data = self._render().encode()


def _state(card: ModelCard) -> dict[str, Any]:
    return {"name": card.name, "state": card.state, "reason": card.reason}
