"""Gives untouched KV cache back to the board.

llama.cpp fills the whole KV cache with zeros when it makes a context, which makes every page of every slot
resident: gigabytes for slots that may never be used. A page of zeros that is dropped (MADV_DONTNEED on
private anonymous memory) reads as zeros again, so dropping only pages that are seen to be zero changes
nothing but the resident size, whatever they belong to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_MADV_DONTNEED = 4
_BLOCK_BYTES = 2 * 1024 * 1024
_SMALLEST_BYTES = 32 * 1024 * 1024
_MAPS = Path("/proc/self/maps")


@dataclass(frozen=True, slots=True)
class Mapping:
    begin: int
    end: int


def anonymous_mappings(maps: str) -> set[Mapping]:
    """Large private writable mappings without a file, from the text of /proc/self/maps."""
    found = set()
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) != 5 or fields[1] != "rw-p":
            continue
        begin, end = (int(part, 16) for part in fields[0].split("-"))
        if end - begin >= _SMALLEST_BYTES:
            found.add(Mapping(begin, end))
    return found


class ZeroPages:
    """Made before an allocation; `drop` after it looks only at mappings that have come or grown since."""

    def __init__(self) -> None:
        self._before = anonymous_mappings(_MAPS.read_text())

    def drop(self) -> int:
        """Drop what is zero; returns the bytes dropped. A system that refuses is left as it is."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        dropped = 0
        for mapping in anonymous_mappings(_MAPS.read_text()) - self._before:
            for address in _zero_blocks(mapping):
                if libc.madvise(address, _BLOCK_BYTES, _MADV_DONTNEED) != 0:
                    return dropped
                dropped += _BLOCK_BYTES
        return dropped


def _zero_blocks(mapping: Mapping) -> Iterator[int]:
    """Addresses of aligned blocks that hold only zeros."""
    first = -(-mapping.begin // _BLOCK_BYTES) * _BLOCK_BYTES
    words = _BLOCK_BYTES // 8
    for address in range(first, mapping.end - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        memory: Any = (ctypes.c_uint64 * words).from_address(address)
        block = np.frombuffer(memory, np.uint64)
        if not block.any():
            yield address
