"""Bounds of a client's JSON schema, checked before it goes to the runner. Pure.

Schemas were measured as weapons: `enum` of 100,000, nested repetition in `pattern` and `$ref` cycles hang the
converter or silently become "any JSON". The runner compiles under a deadline; this keeps the obvious ones out
of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from appliance.errors import InvalidRequest

MAX_BYTES: Final = 64 * 1024
MAX_NODES: Final = 1000
MAX_DEPTH: Final = 32
MAX_ENUM: Final = 1000
MAX_PATTERN_BYTES: Final = 256


def check(schema: dict[str, Any], *, param: str) -> None:
    """Raise InvalidRequest where `schema` passes a bound."""
    size = len(msgspec.json.encode(schema))
    if size > MAX_BYTES:
        raise InvalidRequest(reason=f"the schema has {size} bytes, the limit is {MAX_BYTES}", param=param)
    nodes = _count(schema, param=param, depth=1)
    if nodes > MAX_NODES:
        raise InvalidRequest(reason=f"the schema has {nodes} objects, the limit is {MAX_NODES}", param=param)


def _count(value: object, *, param: str, depth: int) -> int:
    """How many objects `value` holds. Bodies are at most 64 deep (`json_body`), so recursion is safe."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(reason=f"the schema is nested deeper than {MAX_DEPTH} levels", param=param)
    if isinstance(value, list):
        return sum(_count(item, param=param, depth=depth + 1) for item in value)
    if not isinstance(value, dict):
        return 0
    _check_keywords(value, param=param)
    return 1 + sum(_count(item, param=param, depth=depth + 1) for item in value.values())


def _check_keywords(node: dict[str, Any], *, param: str) -> None:
    enum, pattern, reference = node.get("enum"), node.get("pattern"), node.get("$ref")
    if isinstance(enum, list) and len(enum) > MAX_ENUM:
        raise InvalidRequest(reason=f"'enum' has {len(enum)} values, the limit is {MAX_ENUM}", param=param)
    if isinstance(pattern, str) and len(pattern.encode()) > MAX_PATTERN_BYTES:
        raise InvalidRequest(reason=f"'pattern' is longer than {MAX_PATTERN_BYTES} bytes", param=param)
    if isinstance(reference, str) and not reference.startswith("#"):
        raise InvalidRequest(
            reason="'$ref' may only point inside the schema: this Outpost is offline", param=param
        )
