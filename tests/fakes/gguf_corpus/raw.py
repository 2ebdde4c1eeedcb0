"""A GGUF as its fields. `render` writes what the fields say, true or not: no field is checked, each can be
forged.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from appliance.gguf.values import CODES, ValueType

Item = int | float | bool | bytes | str


@dataclass(slots=True)
class RawString:
    """`length` None: the true one."""

    text: bytes
    length: int | None = None

    def render(self) -> bytes:
        return struct.pack("<Q", len(self.text) if self.length is None else self.length) + self.text


@dataclass(slots=True)
class RawPair:
    key: RawString
    type: int
    value: bytes
    """As in the file."""
    item_type: int | None = None
    """Of an array."""
    count: int | None = None

    def render(self) -> bytes:
        head = self.key.render() + struct.pack("<I", self.type)
        if self.item_type is not None and self.count is not None:
            head += struct.pack("<IQ", self.item_type, self.count)
        return head + self.value


@dataclass(slots=True)
class RawTensor:
    name: RawString
    shape: list[int]
    type: int
    data: bytes
    n_dims: int | None = None
    offset: int | None = None

    def render(self, offset: int) -> bytes:
        dims = len(self.shape) if self.n_dims is None else self.n_dims
        return (
            self.name.render()
            + struct.pack("<I", dims)
            + b"".join(struct.pack("<Q", length % 2**64) for length in self.shape)
            + struct.pack("<IQ", self.type, (offset if self.offset is None else self.offset) % 2**64)
        )


@dataclass(slots=True)
class RawGguf:
    magic: bytes = b"GGUF"
    version: int = 3
    n_tensors: int | None = None
    n_pairs: int | None = None
    pairs: list[RawPair] = field(default_factory=list)
    tensors: list[RawTensor] = field(default_factory=list)
    alignment: int = 32
    """Of the padding; what the file says is a pair."""
    tail: bytes = b""
    keep_bytes: int | None = None
    """Cut the file after that many."""

    # ── well-formed fields ───────────────────────────────────────────────────────────────────────

    def add(self, key: str, kind: ValueType, value: Item) -> Self:
        self.pairs.append(scalar(key, kind, value))
        return self

    def add_array(self, key: str, kind: ValueType, items: Iterable[Item]) -> Self:
        self.pairs.append(array(key, kind, list(items)))
        return self

    def add_tensor(self, name: str, shape: Sequence[int], data: bytes, kind: int = 0) -> Self:
        self.tensors.append(RawTensor(RawString(name.encode()), list(shape), kind, data))
        return self

    # ── forging ──────────────────────────────────────────────────────────────────────────────────

    def copy(self) -> RawGguf:
        return copy.deepcopy(self)

    def pair(self, key: str) -> RawPair:
        return next(one for one in self.pairs if one.key.text == key.encode())

    def set(self, key: str, kind: ValueType, value: Item) -> Self:
        return self._put(scalar(key, kind, value))

    def set_array(self, key: str, kind: ValueType, items: Iterable[Item]) -> Self:
        return self._put(array(key, kind, list(items)))

    def drop(self, key: str) -> Self:
        self.pairs = [one for one in self.pairs if one.key.text != key.encode()]
        return self

    def tensor(self, name: str) -> RawTensor:
        return next(one for one in self.tensors if one.name.text == name.encode())

    def _put(self, pair: RawPair) -> Self:
        for index, one in enumerate(self.pairs):
            if one.key.text == pair.key.text:
                self.pairs[index] = pair
                return self
        self.pairs.append(pair)
        return self

    # ── bytes ────────────────────────────────────────────────────────────────────────────────────

    def header(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        parts = [self.magic, struct.pack("<IQQ", self.version, n_tensors % 2**64, n_pairs % 2**64)]
        parts += [pair.render() for pair in self.pairs]
        offset = 0
        for tensor in self.tensors:
            parts.append(tensor.render(offset))
            offset += len(tensor.data) + self._padding(len(tensor.data))
        return b"".join(parts)

    def render(self) -> bytes:
        head = self.header()
        parts = [head, bytes(self._padding(len(head)))]
        for tensor in self.tensors:
            parts += [tensor.data, bytes(self._padding(len(tensor.data)))]
        return (b"".join(parts) + self.tail)[: self.keep_bytes]

    def _padding(self, length: int) -> int:
        return -length % self.alignment


def scalar(key: str, kind: ValueType, value: Item) -> RawPair:
    return RawPair(RawString(key.encode()), kind, _item(kind, value))


def array(key: str, kind: ValueType, items: list[Item]) -> RawPair:
    if kind is ValueType.STRING:
        content = b"".join(_item(kind, one) for one in items)
    else:
        content = struct.pack(f"<{len(items)}{CODES[kind]}", *items)
    return RawPair(RawString(key.encode()), ValueType.ARRAY, content, kind, len(items))


def _item(kind: ValueType, value: Item) -> bytes:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return RawString(value).render()
    return struct.pack(f"<{CODES[kind]}", value)
