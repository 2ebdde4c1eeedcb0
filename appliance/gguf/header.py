"""Reads a GGUF's header: metadata and the table of tensors. The weights are not touched.

    ┌───────┬─────────┬───────────┬───────┬────────────────────┬─────────────────────┬─────┬─────────────┐
    │ GGUF  │ version │ n_tensors │ n_kv  │ n_kv × (key, type, │ n_tensors × (name,  │ pad │ tensor data │
    │ 4     │ u32     │ u64       │ u64   │ value)             │ dims, type, offset) │     │             │
    └───────┴─────────┴───────────┴───────┴────────────────────┴─────────────────────┴─────┴─────────────┘

Little-endian; a string is its length (u64) and its bytes; an array is its item type (u32), its length (u64)
and its items. Offsets of tensors count from the data section, which begins at the next multiple of the
alignment. (GGUF specification, versions 2 and 3.)
"""

from __future__ import annotations

import os
import re
import stat
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from appliance.errors import FileUnreadable, ModelInvalid
from appliance.gguf.cursor import Cursor, Malformed, Pread
from appliance.gguf.tensor_types import REMOVED, TENSOR_TYPES, TensorType
from appliance.gguf.values import CODES, NumberArray, StringArray, Value, ValueType

DEFAULT_ALIGNMENT: Final = 32
_MAGIC: Final = b"GGUF"
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_SCALARS: Final = {kind: struct.Struct(f"<{code}") for kind, code in CODES.items()}
_MAX_DIMENSIONS: Final = 4
_MAX_ELEMENTS: Final = 2**63 - 1
_TOKENS: Final = "tokenizer.ggml.tokens"


class Limits(Struct, frozen=True, kw_only=True):
    """What a header may hold at most. Real models stay well below: the largest vocabularies of today have
    260,000 tokens and 520,000 merges in 20 MB.
    """

    header_bytes: int = 48 * 1024 * 1024
    tensors: int = 10_000
    pairs: int = 1_000
    key_bytes: int = 256
    name_bytes: int = 63
    """GGML_MAX_NAME, without the zero."""
    string_bytes: int = 1024 * 1024
    token_bytes: int = 4096
    items: int = 1_000_000
    """In one array."""
    strings: int = 1_500_000
    """In all arrays together: each is a step of a loop."""


DEFAULT_LIMITS: Final = Limits()


class TensorInfo(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    """As ggml orders it: the length of a row first. One to four dimensions."""
    type: TensorType
    offset: int
    """From the beginning of the data section."""
    elements: int
    size_bytes: int


class Header(Struct, frozen=True, kw_only=True):
    version: int
    metadata: Mapping[str, Value]
    """In the file's order."""
    types: Mapping[str, ValueType]
    """Type of each value; of an array: ARRAY."""
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int
    """Where the data section begins in the file."""
    file_bytes: int

    @property
    def architecture(self) -> str | None:
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else None

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """None for another type, also for truth values and floats."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, key: str) -> float | None:
        """Integers and floats."""
        value = self.metadata.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def truth(self, key: str) -> bool | None:
        value = self.metadata.get(key)
        return value if isinstance(value, bool) else None

    def strings(self, key: str) -> StringArray | None:
        value = self.metadata.get(key)
        return value if isinstance(value, StringArray) else None

    def numbers(self, key: str) -> NumberArray | None:
        value = self.metadata.get(key)
        return value if isinstance(value, NumberArray) else None


def read_header(path: Path, limits: Limits = DEFAULT_LIMITS, *, model: str | None = None) -> Header:
    """Raises ModelInvalid for whatever is wrong with the file, named `model` (or by its file name) in the
    error; FileUnreadable where the system does not let it be read, which says nothing of the file.

    Blocks for reading a few megabytes; holds no more than `limits.header_bytes` twice.
    """
    try:
        # Not blocking: a FIFO in the model's place must not hold the caller up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return read_opened(descriptor, limits, model=model or path.name)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileUnreadable(path=str(path), reason=reason, errno=error.errno or 0) from error


def read_opened(
    descriptor: int, limits: Limits = DEFAULT_LIMITS, *, model: str, pread: Pread = os.pread
) -> Header:
    """As `read_header`, of an open file. Raises ModelInvalid, and what `pread` raises."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise ModelInvalid(model=model, reason="it is not a regular file")
    cursor = Cursor(descriptor, size_bytes=facts.st_size, limit_bytes=limits.header_bytes, pread=pread)
    try:
        return _read(cursor, facts.st_size, limits)
    except Malformed as error:
        raise ModelInvalid(model=model, reason=str(error)) from error


def read_streamed(
    chunks: Iterator[bytes], size_bytes: int, limits: Limits = DEFAULT_LIMITS, *, model: str
) -> Header:
    """As `read_header`, of a file of that size that is still elsewhere; no more chunks are taken than it
    needs. Raises ModelInvalid, and what `chunks` raises.
    """
    cursor = Cursor(-1, size_bytes=size_bytes, limit_bytes=limits.header_bytes, pread=_Stream(chunks).pread)
    try:
        return _read(cursor, size_bytes, limits)
    except Malformed as error:
        raise ModelInvalid(model=model, reason=str(error)) from error


class _Stream:
    """Chunks, read as a cursor reads a file: always on from where it was."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ahead = bytearray()

    def pread(self, _descriptor: int, length: int, _offset: int) -> bytes:
        while len(self._ahead) < length and (chunk := next(self._chunks, None)) is not None:
            self._ahead += chunk
        taken = bytes(self._ahead[:length])
        del self._ahead[:length]
        return taken


def _read(cursor: Cursor, size_bytes: int, limits: Limits) -> Header:
    magic = cursor.take(len(_MAGIC), "the header")
    if magic != _MAGIC:
        raise Malformed(f"it is no GGUF file: it begins with {magic!r}")
    version = _version(cursor)
    n_tensors = _count(cursor, limits.tensors, "tensors")
    n_pairs = _count(cursor, limits.pairs, "metadata values")
    metadata, types = _metadata(cursor, n_pairs, limits)
    alignment = _alignment(metadata, types)
    tensors = _tensors(cursor, n_tensors, limits)
    # Without tensors there is no data section, and llama.cpp asks for no padding either.
    data_offset = _padded(cursor.offset, alignment) if tensors else cursor.offset
    return Header(
        version=version,
        metadata=MappingProxyType(metadata),
        types=MappingProxyType(types),
        tensors=tensors,
        alignment=alignment,
        data_offset=data_offset,
        file_bytes=size_bytes,
    )


def _version(cursor: Cursor) -> int:
    version = cursor.integer(_U32, "the header")
    if version in (2, 3):
        return version
    if version and version & 0xFFFF == 0:
        raise Malformed("it is a big-endian GGUF; convert it for little-endian machines")
    raise Malformed(f"GGUF version {version} is not one of 2, 3")


def _count(cursor: Cursor, limit: int, what: str) -> int:
    count = cursor.integer(_U64, "the header")
    if count > limit:
        raise Malformed(f"the header announces {count} {what}, more than {limit}")
    return count


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────


def _metadata(cursor: Cursor, count: int, limits: Limits) -> tuple[dict[str, Value], dict[str, ValueType]]:
    metadata: dict[str, Value] = {}
    types: dict[str, ValueType] = {}
    strings = 0
    for index in range(count):
        key = _key(cursor, limits, index)
        if key in metadata:
            raise Malformed(f"metadata key {key!r} is there twice")
        kind = _value_type(cursor, key)
        types[key] = kind
        if kind is ValueType.ARRAY:
            metadata[key] = found = _array(cursor, key, limits)
            strings += len(found) if isinstance(found, StringArray) else 0
        else:
            metadata[key] = _scalar(cursor, key, kind, limits)
        if strings > limits.strings:
            raise Malformed(f"its arrays hold more than {limits.strings} strings")
    return metadata, types


def _key(cursor: Cursor, limits: Limits, index: int) -> str:
    raw = cursor.string(limits.key_bytes, f"the key of metadata value {index}")
    # The specification says lower case; converters leave capitals and hyphens of names in keys of their own.
    if not re.fullmatch(rb"[A-Za-z0-9_.\-]+", raw):
        raise Malformed(f"the key of metadata value {index} is not made of letters, digits, '.', '_' and '-'")
    return raw.decode("ascii")


def _value_type(cursor: Cursor, key: str) -> ValueType:
    number = cursor.integer(_U32, f"metadata value {key!r}")
    try:
        return ValueType(number)
    except ValueError:
        raise Malformed(f"metadata value {key!r} has the unknown type {number}") from None


def _scalar(cursor: Cursor, key: str, kind: ValueType, limits: Limits) -> Value:
    what = f"metadata value {key!r}"
    if kind is ValueType.STRING:
        # Text is for people and for comparing with known words: what is no UTF-8 shows as such.
        return cursor.string(limits.string_bytes, what).decode("utf-8", errors="replace")
    (value,) = cursor.unpack(_SCALARS[kind], what)
    return _truth(value, what) if kind is ValueType.BOOL else value


def _truth(value: float, what: str) -> bool:
    if value not in (0, 1):
        raise Malformed(f"{what} is neither true nor false")
    return bool(value)


def _array(cursor: Cursor, key: str, limits: Limits) -> Value:
    what = f"metadata array {key!r}"
    kind = _value_type(cursor, key)
    if kind is ValueType.ARRAY:
        raise Malformed(f"{what} holds arrays")
    count = cursor.integer(_U64, what)
    if count > limits.items:
        raise Malformed(f"{what} has {count} items, more than {limits.items}")
    if kind is ValueType.STRING:
        longest = limits.token_bytes if key == _TOKENS else limits.string_bytes
        return cursor.strings(count, longest, what)
    items = array(CODES[kind])
    items.frombytes(cursor.take(count * items.itemsize, what))
    if sys.byteorder == "big":  # pragma: no cover - the boards we know are little-endian
        items.byteswap()
    if kind is ValueType.BOOL and count and max(items) > 1:
        raise Malformed(f"{what} holds more than true and false")
    return NumberArray(kind, items)


def _alignment(metadata: Mapping[str, Value], types: Mapping[str, ValueType]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if types.get("general.alignment", ValueType.UINT32) is not ValueType.UINT32:
        raise Malformed("general.alignment is no 32-bit number")
    assert isinstance(alignment, int)
    if alignment == 0 or alignment & (alignment - 1):
        raise Malformed(f"its alignment, {alignment}, is not a power of two")
    return alignment


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────────────


def _tensors(cursor: Cursor, count: int, limits: Limits) -> tuple[TensorInfo, ...]:
    tensors: dict[str, TensorInfo] = {}
    for index in range(count):
        one = _tensor(cursor, index, limits)
        if one.name in tensors:
            raise Malformed(f"tensor {one.name!r} is there twice")
        tensors[one.name] = one
    return tuple(tensors.values())


def _tensor(cursor: Cursor, index: int, limits: Limits) -> TensorInfo:
    raw = cursor.string(limits.name_bytes, f"the name of tensor {index}")
    if not re.fullmatch(rb"[!-~]+", raw):
        raise Malformed(f"the name of tensor {index} is empty or has other characters than printable ASCII")
    name = raw.decode("ascii")
    what = f"the entry of tensor {name!r}"
    shape = _shape(cursor, name, what)
    kind = _tensor_type(cursor.integer(_U32, what), name)
    offset = cursor.integer(_U64, what)
    elements = 1
    for length in shape:
        elements *= length
    if elements > _MAX_ELEMENTS:
        raise Malformed(f"tensor {name!r} has {elements} elements")
    if shape[0] % kind.block_items:
        raise Malformed(
            f"tensor {name!r} has rows of {shape[0]}, no multiple of {kind.name}'s {kind.block_items}"
        )
    size_bytes = elements // kind.block_items * kind.block_bytes
    return TensorInfo(name, shape, kind, offset, elements, size_bytes)


def _shape(cursor: Cursor, name: str, what: str) -> tuple[int, ...]:
    dimensions = cursor.integer(_U32, what)
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise Malformed(f"tensor {name!r} has {dimensions} dimensions, not 1 to {_MAX_DIMENSIONS}")
    shape = tuple(cursor.integer(_U64, what) for _ in range(dimensions))
    if 0 in shape:
        raise Malformed(f"tensor {name!r} is empty: {shape}")
    return shape


def _tensor_type(number: int, name: str) -> TensorType:
    kind = TENSOR_TYPES.get(number)
    if kind is not None:
        return kind
    if number in REMOVED:
        raise Malformed(
            f"tensor {name!r} has type {number}, which llama.cpp no longer supports; quantise anew"
        )
    raise Malformed(f"tensor {name!r} has the unknown type {number}")


def _padded(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) & ~(alignment - 1)
