"""Strict JSON of what registries, sticks and archives bring: bounded before it is parsed, typed when it is.

Refused: more bytes than allowed, nesting and counts beyond any honest manifest, duplicate keys (two readers
would see two manifests under one digest), NaN and Infinity, a number of another kind than the field's, lone
surrogates, a byte order mark, anything behind the value. Unknown keys are let be, as OCI asks of readers.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, Final, TypeVar

import msgspec

from appliance.errors import ManifestInvalid

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 200_000

# Possessive, and content without its closing quote still matches, so the pass is linear on any bytes.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_MARKS: Final = bytes(set(range(256)) - set(b"[]{},"))

Kind = TypeVar("Kind")


def decode(content: bytes, kind: type[Kind], *, what: str, max_bytes: int) -> Kind:
    """`content` as one value of `kind`, a msgspec struct or a plain container. Raises ManifestInvalid."""
    if len(content) > max_bytes:
        raise ManifestInvalid(what=what, reason=f"has {len(content)} bytes, at most {max_bytes} are read")
    _check_shape(content, what=what)
    try:
        json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
        return msgspec.json.decode(content, type=kind)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise ManifestInvalid(what=what, reason=f"is not what it should be: {_clip(str(error))}") from error


def _check_shape(content: bytes, *, what: str) -> None:
    """Depth and counts, over bytes and without a parser: the parsers cost memory and recurse."""
    marks = _STRING.sub(b"", content).translate(_ONE_KIND, _NO_MARKS)
    if len(marks) > MAX_VALUES:
        raise ManifestInvalid(what=what, reason=f"has more than {MAX_VALUES} values")
    steps = {ord("["): 1, ord("]"): -1, ord(","): 0}
    if max(accumulate(steps[mark] for mark in marks), default=0) > MAX_DEPTH:
        raise ManifestInvalid(what=what, reason=f"is nested deeper than {MAX_DEPTH} levels")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _clip(text: str) -> str:
    """A parser's words may quote what it read."""
    return text.encode("ascii", "backslashreplace").decode()[:200]
