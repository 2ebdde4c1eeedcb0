"""Strict JSON of request bodies: everything that Python's own reader lets through and that we do not.

Refused, each with the name of what is wrong: NaN, Infinity and numbers too large for a double, what is too
deep or too much (`json_shape`), duplicate keys, lone surrogates (they cannot be tokenised nor sent back),
bytes that are not UTF-8, and anything but an object at the top. Stands between waitress and the pydantic
models in flow 1.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import falcon

from appliance.api import json_shape
from appliance.api.visible import shown
from appliance.errors import BodyTooLarge, InvalidRequest

Value = TypeVar("Value")

_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Stands where something was that we do not take, until its place in the body is known."""

    reason: str
    key: str = ""
    """Of the object that stood here, the one at fault."""


def read(req: falcon.Request, *, limit_bytes: int) -> dict[str, Any]:
    """The body of `req` as one JSON object. Raises InvalidRequest, BodyTooLarge, or falcon's 415."""
    _check_content_type(req)
    return read_untyped(req, limit_bytes=limit_bytes)


def read_untyped(req: falcon.Request, *, limit_bytes: int) -> dict[str, Any]:
    """The same of whatever Content-Type, for doors that keep web pages out in another way."""
    _check_encoding(req)
    body = req.bounded_stream.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        raise BodyTooLarge(size_bytes=req.content_length, limit_bytes=limit_bytes)
    return parse(body)


def parse(body: bytes) -> dict[str, Any]:
    """`body` as one JSON object. Raises InvalidRequest."""
    if not body.strip():
        raise InvalidRequest(reason="the body is empty; send a JSON object")
    json_shape.check(body)
    misfits: list[_Misfit] = []

    def noted(value: Value | _Misfit) -> Value | _Misfit:
        if isinstance(value, _Misfit):
            misfits.append(value)
        return value

    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=lambda pairs: noted(_object(pairs)),
            parse_constant=lambda text: noted(_Misfit(f"{text} is not JSON")),
            parse_float=lambda text: noted(_finite(text)),
            parse_int=lambda text: noted(_bounded_int(text)),
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(reason=f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(reason=f"the body is not JSON: {error}") from error
    if misfits:
        _refuse_misfits(value, path="")
    if not isinstance(value, dict):
        raise InvalidRequest(reason="the body must be a JSON object")
    if _SURROGATE_ESCAPE.search(body):
        _refuse_surrogates(value, path="")
    return value


def _check_content_type(req: falcon.Request) -> None:
    """JSON only: a form type would let any web page post here without asking the browser first."""
    essence = (req.content_type or "").partition(";")[0].strip().lower()
    if essence != "application/json":
        raise falcon.HTTPUnsupportedMediaType(description="send Content-Type: application/json")


def _check_encoding(req: falcon.Request) -> None:
    if (req.get_header("Content-Encoding") or "identity").strip().lower() != "identity":
        raise falcon.HTTPUnsupportedMediaType(
            description="compressed bodies are not taken; send it without Content-Encoding"
        )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Misfit:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return _Misfit("the key stands there twice", key)
            seen.add(key)
    return result


def _finite(text: str) -> float | _Misfit:
    value = float(text)
    return value if math.isfinite(value) else _Misfit(f"the number {text[:40]} is out of range")


def _bounded_int(text: str) -> int | _Misfit:
    """64 bits: the wire carries no more, and a longer number costs quadratic time to read."""
    if len(text) <= 20 and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    return _Misfit(f"the number {text[:40]}{'…' if len(text) > 40 else ''} is out of range")


def _refuse_misfits(value: object, *, path: str) -> None:
    """Depth is bounded (`json_shape`), so recursion is safe."""
    if isinstance(value, _Misfit):
        steps = [step for step in (path, shown(value.key)) if step]
        raise InvalidRequest(reason=value.reason, param=".".join(steps) or None)
    inner = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, item in inner:
        name = shown(str(key))
        _refuse_misfits(item, path=f"{path}.{name}" if path else name)


def _refuse_surrogates(value: object, *, path: str) -> None:
    """Depth is bounded (`json_shape`), so recursion is safe."""
    if isinstance(value, str):
        if not _encodable(value):
            raise InvalidRequest(reason="the text holds a lone surrogate", param=path or None)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_surrogates(item, path=f"{path}.{index}" if path else str(index))
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f"{path}.{shown(key)}" if path else shown(key)
            if not _encodable(key):
                raise InvalidRequest(reason="the key holds a lone surrogate", param=inner)
            _refuse_surrogates(item, path=inner)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
