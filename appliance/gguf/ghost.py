"""Ghosts: the header of a GGUF without its weights. Enough for llama.cpp to tell what a model would take.

The caller makes the file as long as the header says; where nothing is written, a file system stores nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from appliance.gguf.header import DEFAULT_ALIGNMENT
from appliance.gguf.tensor_types import TENSOR_TYPES, TensorType
from appliance.gguf.values import ValueType

_VERSION: Final = 3
_TYPES: Final = {one.name: one for one in TENSOR_TYPES.values()}

GhostValue = str | bool | int | float | Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class GhostTensor:
    name: str
    shape: tuple[int, ...]
    """As ggml orders it: the length of a row first."""
    type: str = "F32"

    @property
    def size_bytes(self) -> int:
        kind = self._kind
        return prod(self.shape) // kind.block_items * kind.block_bytes

    @property
    def _kind(self) -> TensorType:
        return _TYPES[self.type]


@dataclass(frozen=True, slots=True)
class Ghost:
    header: bytes
    file_bytes: int
    """Of the whole file, weights included."""


def ghost(metadata: Mapping[str, GhostValue], tensors: Sequence[GhostTensor]) -> Ghost:
    """Whole numbers become 32-bit ones without a sign; every string array is one of strings."""
    parts = [struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(metadata))]
    parts += [_string(key) + _value(value) for key, value in metadata.items()]
    offset = 0
    for tensor in tensors:
        kind = _TYPES[tensor.type]
        lengths = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        parts.append(_string(tensor.name) + lengths + struct.pack("<IQ", kind.number, offset))
        offset += _padded(tensor.size_bytes)
    header = b"".join(parts)
    header += bytes(_padded(len(header)) - len(header))
    return Ghost(header, len(header) + offset)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: GhostValue) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", ValueType.BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", ValueType.UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", ValueType.FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", ValueType.STRING) + _string(value)
    items = b"".join(_string(one) if isinstance(one, str) else struct.pack("<I", one) for one in value)
    kind = ValueType.STRING if value and isinstance(value[0], str) else ValueType.UINT32
    return struct.pack("<IIQ", ValueType.ARRAY, kind, len(value)) + items


def _padded(length: int) -> int:
    return -(-length // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
