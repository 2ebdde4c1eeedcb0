"""GET /v1/models, GET and DELETE /v1/models/{id}: OpenAI's list, with llama-server's `meta` and our state."""

from __future__ import annotations

from typing import Any

import falcon

from appliance import log
from appliance.api.exchange import exchange_of
from appliance.api.openai.chunks import encode
from appliance.errors import Unsupported
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import Inference, ModelCard

_log = log.logger("api")


class Models:
    """Stateless; any thread."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "application/json"
        resp.data = encode({"object": "list", "data": [_object(card) for card in self._inference.models()]})


class Model:
    """Stateless; any thread. Ids hold `/` and `:`, raw or percent-encoded: the rest of the path is the id."""

    def __init__(self, inference: Inference, store: StoreVerbs | None = None) -> None:
        self._inference = inference
        self._store = store

    def on_get(self, _req: falcon.Request, resp: falcon.Response, model: str) -> None:
        card = self._inference.find(model[:256])
        resp.content_type = "application/json"
        resp.data = encode(_object(card))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        """Of the store: models of the configuration stay, and are not found here."""
        if self._store is None:
            raise Unsupported(feature="DELETE of a model", reason="this daemon has no model store")
        name = model[:256]
        self._store.remove(name)
        exchange_of(req).model = name
        _log.info("model_deleted", request_id=exchange_of(req).request_id, model=name)
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
