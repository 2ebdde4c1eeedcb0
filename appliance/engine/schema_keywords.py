"""The words of JSON Schema that are honoured, and how large a schema may be. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from appliance.errors import InvalidRequest

MAX_BYTES: Final = 64 * 1024
MAX_NODES: Final = 1_000
MAX_DEPTH: Final = 32
MAX_ENUM: Final = 1_000

ANNOTATIONS: Final = frozenset(
    [
        "title",
        "description",
        "default",
        "example",
        "examples",
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "strict",
    ]
)
BY_TYPE: Final = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
COMBINERS: Final = ("$ref", "allOf", "anyOf", "oneOf", "const", "enum")
KNOWN: Final = frozenset({*COMBINERS, "type"}) | ANNOTATIONS | frozenset().union(*BY_TYPE.values())


def check_size(schema: Any, param: str) -> None:
    """Bounds before anything recursive touches it. A subschema is at most two levels of JSON."""
    nodes = 0
    todo: list[tuple[Any, int]] = [(schema, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > 2 * MAX_DEPTH:
            raise InvalidRequest(reason=f"the schema is nested more than {MAX_DEPTH} deep", param=param)
        if isinstance(value, dict):
            nodes += 1
            todo.extend((child, depth + 1) for child in value.values())
        elif isinstance(value, list):
            todo.extend((child, depth + 1) for child in value)
        if nodes > MAX_NODES:
            raise InvalidRequest(reason=f"the schema has more than {MAX_NODES} nodes", param=param)
    try:
        size_bytes = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise InvalidRequest(reason=f"the schema is not JSON: {error}", param=param) from error
    if size_bytes > MAX_BYTES:
        raise InvalidRequest(
            reason=f"the schema has {size_bytes} bytes, the limit is {MAX_BYTES}", param=param
        )


def is_a(value: Any, name: object) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(name, str) and isinstance(value, _PYTHON_TYPES.get(name, ()))
