"""From a JSON object to a checked request model: fields that are ignored, refused or unknown, and the first
fault's path.

Nothing is dropped silently: a field is honoured (it is in the model), or named in `X-Outpost-Warning`
(`IGNORED`), or refused by name. A fault names its path in the body as the caller wrote it
(`messages.0.content`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import pydantic
from pydantic_core import ErrorDetails

from appliance.api.dialect.fields import Body
from appliance.api.exchange import Exchange
from appliance.api.visible import shown
from appliance.errors import InvalidRequest, Unsupported

Model = TypeVar("Model", bound=Body)
Checked = TypeVar("Checked", bound=pydantic.BaseModel)

IGNORED: Final[Mapping[str, Sequence[object]]] = {
    "user": (),
    "safety_identifier": (),
    "metadata": ({},),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "prediction": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
}
"""OpenAI's fields that change nothing here → the values that ask for nothing and so need no warning (null
never does)."""

REFUSED: Final[Mapping[str, str]] = {
    "functions": "it is deprecated; send 'tools'",
    "function_call": "it is deprecated; send 'tool_choice'",
    "audio": "this Outpost neither hears nor speaks",
    "web_search_options": "this Outpost is offline",
    "moderation": "there is no moderation model here",
    "samplers": "the order of the samplers is fixed",
}

_MAX_NAME_CHARS: Final = 128
_MAX_FAULTS: Final = 5000
"""Beyond, nobody wrote it by hand: to describe a million faults would take longer than to answer."""
_MESSAGES: Final = {
    "missing": "the field is required",
    "string_type": "a string is expected",
    "int_type": "an integer is expected",
    "int_from_float": "an integer is expected",
    "float_type": "a number is expected",
    "finite_number": "a finite number is expected",
    "bool_type": "true or false is expected",
    "list_type": "an array is expected",
    "dict_type": "an object is expected",
    "model_type": "an object is expected",
    "model_attributes_type": "an object is expected",
}


def validated(model: type[Model], body: dict[str, Any], exchange: Exchange) -> Model:
    """`body` as a `model`. Raises InvalidRequest or Unsupported for the first fault; warns of what is
    ignored.
    """
    return checked(model, _without_ignored(model, body, exchange))


def checked(model: type[Checked], told: dict[str, Any]) -> Checked:
    """`told` as a `model`. Raises InvalidRequest or Unsupported for the first fault."""
    try:
        return model.model_validate(told)
    except pydantic.ValidationError as error:
        raise _fault(error, told) from error


def _without_ignored(model: type[Body], body: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    told = {}
    ignored, refused = {**IGNORED, **model.ignored}, {**REFUSED, **model.refused}
    for name, value in body.items():
        if name in model.model_fields:
            told[name] = value
        elif name in ignored:
            if value is not None and value not in ignored[name]:
                exchange.warn(f"'{name}' is ignored")
        elif name not in refused:
            told_name = shown(name, _MAX_NAME_CHARS)
            raise Unsupported(
                feature=f"the field '{told_name}'", reason="it is unknown here; leave it out", param=told_name
            )
        elif value is not None:
            raise Unsupported(feature=f"'{name}'", reason=refused[name], param=name)
    return told


def _fault(error: pydantic.ValidationError, body: dict[str, Any]) -> InvalidRequest | Unsupported:
    """One error of pydantic's many: of a union's branches the one that got deepest knows best what was
    meant.
    """
    if error.error_count() > _MAX_FAULTS:
        return InvalidRequest(reason=f"{error.error_count()} fields are wrong or unknown")
    details = error.errors(include_url=False, include_context=True, include_input=False)
    paths = [_path(detail, body) for detail in details]
    chosen = max(range(len(details)), key=lambda index: (len(paths[index]), -index))
    param = ".".join(paths[chosen])
    if details[chosen]["type"] == "extra_forbidden":
        return Unsupported(
            feature=f"the field '{param}'", reason="it is unknown here; leave it out", param=param
        )
    reasons = [_reason(detail) for detail, path in zip(details, paths, strict=True) if path == paths[chosen]]
    return InvalidRequest(reason=" or ".join(dict.fromkeys(reasons)), param=param or None)


def _path(detail: ErrorDetails, body: dict[str, Any]) -> list[str]:
    """Pydantic's location without the names of union branches: only steps that exist in the body, and a
    missing field.
    """
    path: list[str] = []
    here: Any = body
    steps = detail["loc"]
    for position, step in enumerate(steps):
        is_last = position == len(steps) - 1
        if not _has(here, step):
            if not (is_last and detail["type"] == "missing"):
                continue
        elif not is_last:
            here = here[step]
        path.append(shown(str(step), _MAX_NAME_CHARS))
    return path


def _has(here: object, step: int | str) -> bool:
    if isinstance(here, dict):
        return step in here
    return isinstance(here, list) and isinstance(step, int) and step < len(here)


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    return _MESSAGES.get(detail["type"]) or detail["msg"][0].lower() + detail["msg"][1:]
