"""POST /api/show: everything about one model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import falcon

from appliance.api.calls import Calls, Limits
from appliance.api.exchange import exchange_of
from appliance.api.json_reply import reply
from appliance.api.model_access import require_seen
from appliance.api.ollama.answers import ShowAnswer
from appliance.api.ollama.bodies import ShowBody
from appliance.api.ollama.endpoint import body_of, required
from appliance.api.ollama.listing import card_details, row_details, row_of
from appliance.api.ollama.stamps import moment
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.store.answers import shown_object
from appliance.store.show import ShownModel
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import ModelCard

_NAME_CHARS: Final = 30
_SHORT_ITEMS: Final = 5
"""Longer arrays are told on `verbose` only."""
_LEFT_OUT: Final = ("general.name", "tokenizer.chat_template")


class Show:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "POST": Operation(
            summary="Everything about one model",
            tag=Tag.OLLAMA,
            body=ShowBody,
            answer=ShowAnswer,
            errors=(404, 500, 503),
            example={"model": "tiny"},
        )
    }

    def __init__(self, calls: Calls, limits: Limits, store: StoreVerbs | None) -> None:
        self._calls = calls
        self._limits = limits
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        body = body_of(ShowBody, req, exchange, self._limits)
        name = required(body.told_name)
        for field in ("system", "template", "options"):
            if getattr(body, field):
                exchange.warn(f"'{field}' is ignored: the model is shown as it is stored")
        if self._store is None or (row_of(self._store, name) is None and "@" not in name):
            reply(resp, card_shown(self._calls.find(exchange, name)))
            return
        require_seen(exchange, name, self._store)
        reply(resp, model_shown(self._store.show(name), verbose=bool(body.verbose)))


def model_shown(model: ShownModel, *, verbose: bool) -> dict[str, Any]:
    told = shown_object(model)
    answer: dict[str, Any] = {
        "license": "\n".join(told["licences"]),
        "modelfile": told["modelfile"],
        "parameters": parameters_text(told["parameters"]),
        "template": told["template"] or "",
        "system": told["system"] or "",
        "details": row_details(model.listed),
        "messages": told["messages"],
        "model_info": model_info(told["metadata"], model, verbose=verbose),
        "capabilities": told["capabilities"],
        "modified_at": moment(model.listed.modified_s),
    }
    answer |= {name: told[name] for name in ("renderer", "parser", "requires") if told[name]}
    if told["projector"]:
        answer["projector_info"] = told["projector"]
    if verbose:
        answer["tensors"] = told["tensors"]
    return {name: value for name, value in answer.items() if value not in ("", []) or name in _ALWAYS}


_ALWAYS: Final = frozenset({"details", "model_info", "modelfile", "template", "capabilities", "modified_at"})
"""The rest is left out where there is nothing to say, as in Ollama."""


def card_shown(card: ModelCard) -> dict[str, Any]:
    """A model of the configuration, of which the store knows nothing."""
    facts = card.facts
    info: dict[str, Any] = {}
    if facts is not None:
        info = {"general.parameter_count": facts.n_params}
    does = "completion" if facts is None or facts.generates else "embedding"
    return {
        "modelfile": f"# {card.name} is a model of this Outpost's configuration\n",
        "template": "",
        "details": card_details(card),
        "model_info": info,
        "capabilities": [does],
        "modified_at": moment(card.created_s),
    }


def model_info(metadata: Mapping[str, Any], model: ShownModel, *, verbose: bool) -> dict[str, Any]:
    """A vocabulary is told by its length on `verbose`, and as an empty list otherwise, as in Ollama."""
    told = {
        name: value if verbose or not _is_long(value) else []
        for name, value in metadata.items()
        if name not in _LEFT_OUT
    }
    count = sum(math.prod(tensor.shape) for tensor in model.tensors)
    return {**told, "general.parameter_count": count}


def _is_long(value: object) -> bool:
    if isinstance(value, list):
        return len(value) > _SHORT_ITEMS
    return isinstance(value, str) and value.startswith("[") and value.endswith(" items]")


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """A name, padded, and a value in each line; texts in quotes."""
    return "\n".join(
        f"{name:<{_NAME_CHARS}} {_literal(one)}"
        for name, value in parameters.items()
        for one in (value if isinstance(value, list) else [value])
    )


def _literal(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False)
