"""What the doors tell of the store, as JSON: one form over HTTP and with `--json`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from appliance.store.content import Progress
from appliance.store.listing import ListedModel
from appliance.store.show import ShownModel


def listed_object(model: ListedModel) -> dict[str, Any]:
    return {"id": model.id, **asdict(model)}


def shown_object(model: ShownModel) -> dict[str, Any]:
    return {
        **listed_object(model.listed),
        "modelfile": model.modelfile,
        # The listing's `parameters` is how many the model has; here it is what its requests start from.
        "parameter_count": model.listed.parameters,
        "parameters": _plain(model.parameters),
        "template": model.template,
        "template_note": model.template_note,
        "system": model.system,
        "messages": [{"role": role, "content": content} for role, content in model.messages],
        "licences": list(model.licences),
        "capabilities": list(model.capabilities),
        "context_length": model.context_length,
        "embedding_length": model.embedding_length,
        "metadata": _plain(model.metadata),
        "projector": _plain(model.projector),
        "tensors": [
            {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}
            for tensor in model.tensors
        ],
        "variant": model.variant,
    }


def progress_object(progress: Progress) -> dict[str, Any]:
    """With Ollama's keys; what is not known is left out."""
    told = {
        "status": progress.status,
        "digest": progress.digest,
        "total": progress.total_bytes,
        "completed": progress.completed_bytes,
    }
    return {key: value for key, value in told.items() if value is not None}


def _plain(facts: Mapping[str, object]) -> dict[str, Any]:
    return {_text(name): _value(value) for name, value in facts.items()}


def _value(value: object) -> Any:
    """As JSON can say it: a GGUF's texts are whatever bytes somebody wrote, its numbers may be none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, tuple | list):
        return [_value(item) for item in value]
    return value


def _text(text: str) -> str:
    """Without lone surrogates, which no encoder takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
