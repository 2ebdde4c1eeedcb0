"""What the doors tell of the store, as JSON: one form over HTTP and with `--json`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.store.listing import ListedModel

if TYPE_CHECKING:  # a list needs none of these
    from appliance.optimizing.record import Record
    from appliance.store.content import Progress
    from appliance.store.kept import Kept
    from appliance.store.show import ShownModel
    from appliance.store.verbs import Calibration, Collected

_LISTED: Final = tuple(field.name for field in fields(ListedModel))


def listed_object(model: ListedModel) -> dict[str, Any]:
    return {"id": model.id, **{name: getattr(model, name) for name in _LISTED}}


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
        "renderer": model.renderer,
        "parser": model.parser,
        "requires": model.requires,
        "notes": list(model.notes),
        "variant": model.variant,
        "calibrated": model.calibrated,
        "optimization": None if model.optimization is None else record_object(model.optimization),
    }


def record_object(record: Record) -> dict[str, Any]:
    """What was measured and decided, as it is stored."""
    told: dict[str, Any] = msgspec.to_builtins(record, str_keys=True)
    return {**told, "sentence": record.sentence}


def calibration_object(told: Calibration) -> dict[str, Any]:
    """What was measured and chosen, as it is stored; of a dry run, what would be measured."""
    record = None if told.record is None else msgspec.to_builtins(told.record, str_keys=True)
    found: dict[str, Any] = {
        "name": told.name,
        "calibration": record,
        "sentence": told.sentence,
        "stale": told.stale,
    }
    return found if not told.plan else {**found, "plan": msgspec.to_builtins(list(told.plan))}


def progress_object(progress: Progress) -> dict[str, Any]:
    """With Ollama's keys; what is not known is left out."""
    told = {
        "status": progress.status,
        "digest": progress.digest,
        "total": progress.total_bytes,
        "completed": progress.completed_bytes,
    }
    return {key: value for key, value in told.items() if value is not None}


def collected_object(collected: Collected) -> dict[str, Any]:
    young = collected.young
    return {
        "blobs": collected.blobs,
        "size_bytes": collected.size_bytes,
        "grace_s": collected.grace_s,
        "young": {
            "blobs": young.blobs,
            "size_bytes": young.size_bytes,
            "first_in_s": _tenths(young.first_in_s),
            "last_in_s": _tenths(young.last_in_s),
        },
        "at_work": _counted(collected.at_work),
        "arrivals": _counted(collected.arrivals),
        "cut_off": _counted(collected.cut_off),
        "withheld": list(collected.withheld),
    }


def _counted(kept: Kept) -> dict[str, Any]:
    return {"blobs": kept.blobs, "size_bytes": kept.size_bytes}


def _tenths(seconds: float | None) -> float | None:
    """Upwards: who waits so long has waited long enough."""
    return None if seconds is None else math.ceil(seconds * 10) / 10


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
