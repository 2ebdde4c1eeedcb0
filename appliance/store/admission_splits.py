"""Admission of models in several files: all there, in order, and what the first announces."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.gguf.header import Header
from appliance.gguf.values import ValueType

_TYPES = {
    "split.no": ValueType.UINT16,
    "split.count": ValueType.UINT16,
    "split.tensors.count": ValueType.INT32,
}
"""As llama.cpp's splitter writes them; it aborts when a number has another type."""


def fault(headers: Sequence[Header]) -> str | None:
    """What is wrong with `headers` as the splits of one model. One file may say that it is one of one."""
    for number, header in enumerate(headers):
        reason = _fault_of_one(header, number, len(headers))
        if reason is not None:
            return reason
    if len(headers) < 2:
        return None
    names = [tensor.name for header in headers for tensor in header.tensors]
    announced = headers[0].integer("split.tensors.count")
    if announced != len(names):
        return f"its splits announce {announced} tensors and hold {len(names)}"
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"tensor '{twice}' is in two splits"
    return None


def _fault_of_one(header: Header, number: int, count: int) -> str | None:
    for key, kind in _TYPES.items():
        if header.types.get(key, kind) is not kind:
            return f"{key} has the type {header.types[key].name.lower()}, not {kind.name.lower()}"
    said = header.integer("split.count")
    if count == 1:
        if said is None or said <= 1:
            return None
        return f"it is one of {said} splits; give all {said} of them, in order"
    if said != count:
        return f"split {number + 1} of {count} says that there are {said}"
    place = header.integer("split.no")
    return None if place == number else f"split {number + 1} says that it is number {place} (from 0)"
