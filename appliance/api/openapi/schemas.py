"""Types as JSON schemas (2020-12, which OpenAPI 3.1 takes as it is), all by name under one roof.

pydantic makes those of its models and of dataclasses, msgspec those of its structs: whoever validates a type
describes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import msgspec
import pydantic
from pydantic.json_schema import CoreModeRef, CoreRef, DefsRef, GenerateJsonSchema

from appliance.api.openapi.field_docs import FieldDocs

_MODE: Final = "validation"
_PREFIXES: Final = {
    "appliance.api.anthropic.": "Anthropic",
    "appliance.api.ollama.": "Ollama",
    "appliance.api.openai.responses.": "Responses",
}
"""Module → what stands before the names of its types."""
_ROOF: Final = "#/components/schemas/"

Schema = dict[str, Any]
_Adapter = tuple[int, Literal["validation", "serialization"], pydantic.TypeAdapter[Any]]


class _Plain(GenerateJsonSchema):
    """Without the title of each field, which only says its name again, and with the words below it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._docs = FieldDocs()

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's form
        return False

    def get_defs_ref(self, core_mode_ref: CoreModeRef) -> DefsRef:
        """Those of each API by names of their own: all have a message."""
        ref, mode = core_mode_ref
        module, _, name = ref.rpartition(".")
        prefix = next((told for start, told in _PREFIXES.items() if module.startswith(start)), "")
        if name.startswith(prefix.removesuffix("s")):
            prefix = ""
        return super().get_defs_ref((CoreRef(f"{module}.{prefix}{name}"), mode))

    def model_schema(self, schema: Any) -> Schema:
        told = super().model_schema(schema)
        kind: type[pydantic.BaseModel] = schema["cls"]
        for name, words in self._docs.of(kind).items():
            field = kind.model_fields.get(name)
            if field is not None:
                told["properties"][field.alias or name]["description"] = words
        return told


def schemas_of(types: Sequence[Any]) -> tuple[dict[int, Schema], dict[str, Schema]]:
    """(place in `types` → its schema, mostly a reference; name → schema). Raises ValueError where two types
    have one name.
    """
    distinct = _distinct(types)
    of_msgspec = [kind for kind in distinct if _is_struct(kind)]
    of_pydantic = [kind for kind in distinct if not _is_struct(kind)]
    told_m, named_m = _by_msgspec(of_msgspec)
    told_p, named_p = _by_pydantic(of_pydantic)
    for name in named_m.keys() & named_p.keys():
        if named_m[name] != named_p[name]:
            raise ValueError(f"two types of the API are named {name}")
    told = [*zip(of_msgspec, told_m, strict=True), *zip(of_pydantic, told_p, strict=True)]
    by_place = {
        place: next(schema for known, schema in told if known == kind) for place, kind in enumerate(types)
    }
    return by_place, dict(sorted({**named_m, **named_p}.items()))


def _distinct(types: Sequence[Any]) -> list[Any]:
    """Unions are not always hashable."""
    found: list[Any] = []
    for kind in types:
        if kind not in found:
            found.append(kind)
    return found


def _is_struct(kind: Any) -> bool:
    members = get_args(kind) or (kind,)
    return all(isinstance(one, type) and issubclass(one, msgspec.Struct) for one in members)


def _by_msgspec(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    told, named = msgspec.json.schema_components(kinds, ref_template=f"{_ROOF}{{name}}")
    return list(told), dict(named)


def _by_pydantic(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    adapters: list[_Adapter] = [
        (place, _MODE, pydantic.TypeAdapter(kind)) for place, kind in enumerate(kinds)
    ]
    told, rest = pydantic.TypeAdapter.json_schemas(
        adapters,
        ref_template=f"{_ROOF}{{model}}",
        schema_generator=_Plain,
    )
    return [told[place, _MODE] for place in range(len(kinds))], dict(rest.get("$defs", {}))
