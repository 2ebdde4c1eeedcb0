"""What the bodies of the Ollama routes have in common: unknown fields are told, null is as good as absent.

Ollama's clients send more than any one version of Ollama knows, and Ollama drops it in silence. Here it is
named in `X-Outpost-Warning`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from appliance.api.dialect.fields import ModelBody, Text
from appliance.api.visible import shown

Name = Annotated[str, StringConstraints(max_length=2048)]
"""Bounded only; what a name is, the store decides."""
Digest = Annotated[str, StringConstraints(max_length=128)]
MAX_FILES: Final = 64
_THINK: Final = frozenset({"low", "medium", "high", "max"})


class OllamaBody(BaseModel):
    """Base of all bodies that ask no model: no conversion, unknown fields are kept to be told."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class AskBody(ModelBody):
    """Base of those that ask a model: also `keep_alive`."""

    model_config = ConfigDict(extra="allow")

    model: Name | None = None
    """Its name in the store or the configuration; required."""
    options: dict[str, Any] | None = None
    """Parameters by name. Default of each: the model's, else Ollama's."""


class NamedBody(OllamaBody):
    """A body about one stored model, by either spelling of the field."""

    model: Name | None = None
    """Its name in the store; required, or else `name`."""
    name: Name | None = None
    """The older spelling of `model`."""

    @property
    def told_name(self) -> str:
        """Empty: neither is there."""
        return self.model or self.name or ""


def _think(value: object) -> object:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _THINK):
        return value
    raise ValueError('invalid think value (must be "high", "medium", "low", "max", true, or false)')


def _format(value: object) -> object:
    if value in (None, "", "json") or isinstance(value, dict):
        return value or None
    raise ValueError('invalid format; expected "json" or a valid JSON Schema object')


Think = Annotated[bool | Literal["low", "medium", "high", "max"] | None, BeforeValidator(_think)]
Format = Annotated[Literal["json"] | dict[str, Any] | None, BeforeValidator(_format)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
Images = Annotated[list[Text], Field(max_length=64)]


def unknown_fields(body: BaseModel, *, path: str = "") -> Iterator[str]:
    """Paths of what nobody here reads."""
    for name in body.model_extra or ():
        yield path + shown(name)
    for name in body.model_fields_set:
        value = getattr(body, name, None)
        items = value if isinstance(value, list) else ()
        for index, item in enumerate(items):
            if isinstance(item, BaseModel):
                yield from unknown_fields(item, path=f"{path}{name}.{index}.")
