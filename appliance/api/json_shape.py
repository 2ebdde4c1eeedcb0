"""The shape of a JSON body before it is read: how deep, how many. A decision over bytes, without a parser.

Python's reader recurses, and it holds the interpreter's lock from the first byte to the last: 16 MB of small
arrays would stop every stream of every other client for seconds. This pass cuts out the strings and counts
what is left, chunk by chunk, so that other threads run in between, and stops at the first bound that is
passed. It reads strings as JSON does; up to the first fault in the body it sees what the reader will see.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

from appliance.errors import InvalidRequest

MAX_DEPTH: Final = 64
MAX_CONTAINERS: Final = 100_000
MAX_KEYS: Final = 100_000
MAX_VALUES: Final = 500_000
"""Token lists are the largest honest case: 300,000 tokens in one request for embeddings are usual."""

_CHUNK_BYTES: Final = 128 * 1024
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A whole string. The closing quote is optional so that the scan stays linear on broken ones."""
_WHOLE_STRINGS: Final = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{}:]', re.DOTALL)
_LOOKED_AT_BYTES: Final = 64 * 1024
_MAX_FIELD_CHARS: Final = 128
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_MARKS: Final = bytes(set(range(256)) - set(b"[]{},:"))
_OPEN: Final = ord("[")


def check(body: bytes) -> None:
    """Raise InvalidRequest when `body` is nested too deep or holds too much for an honest request."""
    if _is_small(body):
        return
    brackets = bytearray()
    keys = values = position = 0
    while position < len(body):
        end = _end_of_chunk(body, position)
        marks = _STRING.sub(b"", body[position:end]).translate(_ONE_KIND, _NO_MARKS)
        position = end
        keys += marks.count(b":")
        values += marks.count(b",")
        brackets += marks.translate(None, b",:")
        _check_counts(containers=len(brackets) // 2, keys=keys, values=values)
    if max(accumulate(1 if mark == _OPEN else -1 for mark in brackets), default=0) > MAX_DEPTH:
        raise InvalidRequest(
            reason=f"the body is nested deeper than {MAX_DEPTH} levels", param=_deep_field(body)
        )


def _deep_field(body: bytes) -> str | None:
    """The field of the body in which it gets too deep, if that is near enough to its beginning to be looked
    for.
    """
    depth, name, field = 0, b"", b""
    for found in _TOKEN.finditer(body, 0, _LOOKED_AT_BYTES):
        token = found.group()
        if token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return field.decode("ascii", "backslashreplace")[:_MAX_FIELD_CHARS] or None
        elif token in b"]}":
            depth -= 1
        elif token == b":":
            field = name if depth == 1 else field
        else:
            name = token[1:-1]
    return None


def _is_small(body: bytes) -> bool:
    """Too few marks, even counting those in strings, to pass any bound."""
    return body.count(b"[") + body.count(b"{") <= MAX_DEPTH and body.count(b",") < MAX_KEYS - MAX_DEPTH


def _end_of_chunk(body: bytes, position: int) -> int:
    """Where the next chunk ends, outside of any string; a string longer than a chunk is one by itself."""
    whole = _WHOLE_STRINGS.match(body, position, position + _CHUNK_BYTES)
    if whole is not None and whole.end() > position:
        return whole.end()
    long = _STRING.match(body, position)
    assert long is not None  # it starts with a quote, or the pattern before had taken it
    return long.end()


def _check_counts(*, containers: int, keys: int, values: int) -> None:
    for count, limit, what in (
        (containers, MAX_CONTAINERS, "arrays and objects"),
        (keys, MAX_KEYS, "keys"),
        (values, MAX_VALUES, "values"),
    ):
        if count > limit:
            raise InvalidRequest(reason=f"the body has more than {limit} {what}")
