"""`options` of a request: what of them counts here, what does not and why, and what Ollama takes where nobody
says anything. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pydantic

from appliance.api.dialect.fields import GenerationFields
from appliance.api.visible import shown
from appliance.errors import InvalidRequest
from appliance.modelfile import PARAMETERS, Use, engine_settings
from appliance.supervisor.policy import ModelDefaults

DEFAULTS: Final[Mapping[str, float]] = {"top_p": 0.9, "min_p": 0.0}
"""Ollama's, where they differ from llama.cpp's. Below what a model was stored with."""
_RETIRED: Final = frozenset({"use_imagegen_runner", "numa"})
_PLANNED: Final = (
    "a request does not place a model: the board's memory is planned for all (store it with the parameter)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of one request, checked."""

    fields: GenerationFields
    """In the form that all generations share."""
    n_ctx: int | None
    """Tokens of context that were asked for."""
    warnings: tuple[str, ...]


def options_of(told: Mapping[str, Any] | None, *, model: str, defaults: ModelDefaults) -> Options:
    """Raises InvalidRequest for a value of the wrong type or out of bounds."""
    known, warnings = _known(told or {})
    try:
        settings = engine_settings(known)
    except ValueError as error:
        name, _, reason = str(error).removeprefix("parameter '").partition("': ")
        raise InvalidRequest(reason=reason, param=f"options.{name}") from error
    stored = defaults.sampling
    sampling = {name: value for name, value in DEFAULTS.items() if name not in stored} | dict(
        settings.sampling
    )
    n_ctx = settings.placement.get("n_ctx_seq")
    warnings += [*settings.warnings, *(_unplaced(name) for name in known if _is_placement(name, known[name]))]
    return Options(
        fields=_fields(model, sampling, dict(settings.generation)),
        n_ctx=None if n_ctx is None else int(n_ctx),
        warnings=tuple(warnings),
    )


def _known(told: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Those that Ollama has, and a word for each other one. Null is as good as absent."""
    known = {name: value for name, value in told.items() if name in PARAMETERS and value is not None}
    others = [name for name in told if name not in PARAMETERS]
    return known, [f"option '{shown(name)}' is ignored: {_why(name)}" for name in others[:8]]


def _why(name: str) -> str:
    return "Ollama gave it up" if name in _RETIRED else "it is unknown"


def _is_placement(name: str, value: object) -> bool:
    """`num_ctx` is told apart, once it is known how many there are."""
    row = PARAMETERS[name]
    return row.use is Use.PLACEMENT and name != "num_ctx" and value not in row.unset


def _unplaced(name: str) -> str:
    return f"option '{name}' is ignored: {_PLANNED}"


def context_warning(n_ctx: int | None, served: int | None) -> str | None:
    """Where fewer tokens are served than were asked for. More do no harm."""
    if n_ctx is None or served is None or n_ctx <= served:
        return None
    return f"option 'num_ctx': this model is placed with {served} tokens of context, not {n_ctx}"


def _fields(
    model: str, sampling: Mapping[str, Any], generation: Mapping[str, int | list[str]]
) -> GenerationFields:
    try:
        return GenerationFields.model_validate({"model": model, **sampling, **generation})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = {"max_tokens": "num_predict"}.get(str(first["loc"][0]), str(first["loc"][0]))
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(reason=reason, param=f"options.{name}") from error
