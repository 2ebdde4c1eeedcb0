"""GET /v1/models, GET and DELETE /v1/models/{id}: OpenAI's list, with llama-server's `meta` and our state."""

from __future__ import annotations

from typing import Any, ClassVar

import falcon

from appliance.api.calls import MAX_NAME_CHARS, Calls
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import encode
from appliance.api.openai.answers import DeletedModel, ModelObject, ModelsAnswer
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.api.store_changes import StoreChanges
from appliance.errors import Unsupported
from appliance.store.content import unreported
from appliance.store.operations import Remove
from appliance.supervisor.inference import ModelCard


class Models:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="The models that can be asked", tag=Tag.OPENAI, answer=ModelsAnswer)
    }

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        cards = self._calls.models(exchange_of(req))
        resp.content_type = "application/json"
        resp.data = encode({"object": "list", "data": [_object(card) for card in cards]})


class Model:
    """Stateless; any thread. Ids hold `/` and `:`, raw or percent-encoded: the rest of the path is the id."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(
            summary="One of them",
            tag=Tag.OPENAI,
            answer=ModelObject,
            path={"model": "Its id; `/` and `:` raw or percent-encoded."},
            errors=(400, 404),
        ),
        "DELETE": Operation(
            summary="Take a model out of the store",
            tag=Tag.OPENAI,
            answer=DeletedModel,
            path={"model": "Its name; `/` and `:` raw or percent-encoded."},
            errors=(400, 404, 409, 500, 503, 507),
            about="Models of the configuration stay, and are not found by this.",
        ),
    }

    def __init__(self, calls: Calls, changes: StoreChanges | None = None) -> None:
        """`changes` None: there is no store."""
        self._calls = calls
        self._changes = changes

    def on_get(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        card = self._calls.find(exchange_of(req), model[:MAX_NAME_CHARS])
        resp.content_type = "application/json"
        resp.data = encode(_object(card))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        """Of the store: models of the configuration stay, and are not found here."""
        if self._changes is None:
            raise Unsupported(feature="DELETE of a model", reason="this daemon has no model store")
        exchange, name = exchange_of(req), model[:MAX_NAME_CHARS]
        asked = Remove(name=name)
        self._changes.require(exchange, asked)
        self._changes.perform(asked, exchange, unreported)
        resp.content_type = "application/json"
        resp.data = encode({"id": name, "object": "model", "deleted": True})


def _object(card: ModelCard) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": card.name,
        "object": "model",
        "created": card.created_s,
        "owned_by": "outpost",
        "max_model_len": None if card.facts is None else card.facts.n_ctx_seq,
        "state": card.state,
        "reason": card.reason,
        "meta": {"size": card.size_bytes},
    }
    if card.facts is not None:
        facts = card.facts
        told["meta"] |= {
            "n_ctx": facts.n_ctx_seq,
            "n_ctx_train": facts.n_ctx_train,
            "n_vocab": facts.n_vocab,
            "n_embd": facts.n_embd,
            "n_params": facts.n_params,
            "description": facts.description,
            "pooling": facts.pooling,
            "generates": facts.generates,
            "kernels": facts.kernels,
            "device": facts.device,
            "n_gpu_layers": facts.n_gpu_layers,
            "n_layers": facts.n_layers,
            "n_seq_max": facts.n_seq_max,
            "type_k": facts.type_k,
            "type_v": facts.type_v,
            "conceded": [{"what": one.what, "wanted": one.wanted, "got": one.got} for one in card.conceded],
            "variant": card.variant,
        }
    return told
