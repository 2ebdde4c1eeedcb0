"""GET /v1/queue: who waits, for which model, where he stands. Each caller sees what is his own.

With the scope `system`, and on an Outpost without keys (which answers to its own machine only), one sees all.
"""

from __future__ import annotations

from typing import Any, ClassVar

import falcon

from appliance.access.scopes import Scope
from appliance.api.answers import QueueAnswer
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.supervisor.inference import Inference
from appliance.supervisor.turn import Waiting


class Queue:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="Who waits for a model, and how long yet",
            tag=Tag.QUEUE,
            answer=QueueAnswer,
            about="A key sees its own requests; one that may see the whole device, and anybody where there "
            "are no keys, sees all.",
        )
    }

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        waiting = self._inference.waiting(owner=None if exchange.may(Scope.SYSTEM) else exchange.owner)
        resp.content_type = "application/json"
        resp.set_header("Cache-Control", "no-store")
        resp.data = encode({"object": "list", "data": [_shown(one) for one in waiting]})


def _shown(one: Waiting) -> dict[str, Any]:
    return {
        "id": one.request_id,
        "object": "queue.item",
        "model": one.model,
        "owner": one.owner,
        "priority": one.priority.value,
        "aged": one.has_aged,
        "position": one.standing.position,
        "eta_s": _rounded(one.standing.eta_s),
        "waited_s": _rounded(one.waited_s),
        "deadline_in_s": _rounded(one.deadline_in_s),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
