"""A JSON schema as rows of a table: one for each field, those of nested objects by their path. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]

_MAX_DEPTH: Final = 4
_BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    type: str
    is_required: bool
    about: str


def rows_of(document: Object, schema: Object) -> list[Row]:
    """Of an object, or of each form that a union may have."""
    return list(_rows(document["components"]["schemas"], schema, prefix="", depth=0))


def _rows(named: Object, schema: Object, *, prefix: str, depth: int) -> Iterator[Row]:
    if depth == _MAX_DEPTH:
        return
    found = _resolved(named, schema)
    for form in found.get("anyOf", []) + found.get("oneOf", []):
        yield from _rows(named, form, prefix=prefix, depth=depth)
    if "items" in found and isinstance(found["items"], dict):
        yield from _rows(named, found["items"], prefix=f"{prefix}[]", depth=depth)
    required = found.get("required", [])
    for name, field in found.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield Row(name=path, type=type_of(named, field), is_required=name in required, about=_about(field))
        yield from _rows(named, field, prefix=path, depth=depth + 1)


def _resolved(named: Object, schema: Object) -> Object:
    while "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    return schema


def _about(field: Object) -> str:
    """Its own words, not those of its type, and its default where that is not null."""
    words = [str(field["description"])] if "description" in field else []
    if field.get("default") is not None:
        words.append(f"Without it: `{json.dumps(field['default'])}`.")
    return " ".join(words)


def type_of(named: Object, schema: Object) -> str:
    """`string | array of integer`, with its bounds."""
    found = _resolved(named, schema)
    for key in ("anyOf", "oneOf"):
        if key in found:
            return " | ".join(dict.fromkeys(type_of(named, form) for form in found[key]))
    if "const" in found:
        return json.dumps(found["const"])
    if "enum" in found:
        return " | ".join(json.dumps(value) for value in found["enum"])
    kind = str(found.get("type", "any"))
    if kind == "array" and isinstance(found.get("items"), dict):
        kind = f"array of {type_of(named, found['items'])}"
    bounds = [text.format(found[key]) for key, text in _BOUNDS.items() if key in found]
    return f"{kind} ({', '.join(bounds)})" if bounds else kind
