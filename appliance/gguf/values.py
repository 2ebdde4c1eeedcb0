"""The values of a GGUF's metadata. Arrays keep the bytes of the file, not one object per item."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, overload


class ValueType(IntEnum):
    """As numbered in the GGUF specification."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


CODES: Final[Mapping[ValueType, str]] = MappingProxyType(
    {
        ValueType.UINT8: "B",
        ValueType.INT8: "b",
        ValueType.UINT16: "H",
        ValueType.INT16: "h",
        ValueType.UINT32: "I",
        ValueType.INT32: "i",
        ValueType.FLOAT32: "f",
        ValueType.BOOL: "B",
        ValueType.UINT64: "Q",
        ValueType.INT64: "q",
        ValueType.FLOAT64: "d",
    }
)
"""Codes of `struct` and `array`, which agree on these sizes wherever Linux runs."""

FLOATS: Final = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})

_LENGTH: Final = struct.Struct("<Q")


class NumberArray(Sequence["int | float"]):
    """Numbers or truth values (0 and 1), packed. Not changed after it is read."""

    __slots__ = ("_items", "item_type")

    def __init__(self, item_type: ValueType, items: array[int] | array[float]) -> None:
        self.item_type = item_type
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[int | float]:
        return iter(self._items)

    @overload
    def __getitem__(self, index: int) -> int | float: ...
    @overload
    def __getitem__(self, index: slice) -> list[int | float]: ...
    def __getitem__(self, index: int | slice) -> int | float | list[int | float]:
        return list(self._items[index]) if isinstance(index, slice) else self._items[index]


class StringArray(Sequence[bytes]):
    """Strings as they lie in the file, each behind its length of 8 bytes, and where each begins. They are
    bytes: tokens need not be whole UTF-8. Not changed after it is read.
    """

    __slots__ = ("_content", "_starts")

    def __init__(self, content: bytes, starts: array[int]) -> None:
        """`starts` are the offsets of the texts (behind their lengths) in `content`."""
        self._content = content
        self._starts = starts

    @property
    def item_type(self) -> ValueType:
        return ValueType.STRING

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[bytes]:
        content, starts = self._content, self._starts
        if not starts:
            return
        begin = starts[0]
        for following in starts[1:]:
            yield content[begin : following - _LENGTH.size]
            begin = following
        yield content[begin:]

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        start = self._starts[index]
        (length,) = _LENGTH.unpack_from(self._content, start - _LENGTH.size)
        return self._content[start : start + length]


Array = NumberArray | StringArray
Value = int | float | bool | str | NumberArray | StringArray
