"""The log of writes to a block device, as QEMU's `blklogwrites` keeps it (the format of dm-log-writes), and
the disks that a power cut could have left.

    between two flushes a disk may keep any of its writes, in any combination; it has what came before a flush
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One request to the disk."""

    offset: int
    content: bytes
    is_flush: bool
    is_fua: bool


@dataclass(frozen=True, slots=True)
class DiskState:
    image: bytes
    entries: int
    """Requests of the log that had been sent."""
    kept: str


def read_log(path: Path) -> list[Entry]:
    """Raises ValueError for a log that is not one. Discards are left out: they promise nothing."""
    raw = path.read_bytes()
    magic, version, count, sector = _SUPER.unpack_from(raw)
    if magic != _MAGIC or version != 1:
        raise ValueError(f"no log of writes: {path}")
    entries, position = [], sector
    for _ in range(count):
        first, sectors, flags, _ = _ENTRY.unpack_from(raw, position)
        position += sector
        content = b""
        if not flags & _DISCARD:
            content = raw[position : position + sectors * sector]
            position += sectors * sector
            entries.append(Entry(first * sector, content, bool(flags & _FLUSH), bool(flags & _FUA)))
    return entries


def disk_states(
    base: bytes, entries: list[Entry], *, seed: int, subsets: int, from_entry: int = 0
) -> Iterator[DiskState]:
    """The disk after every request from `from_entry` on, and with random choices of the writes since the last
    flush.
    """
    rng = random.Random(seed)
    flushed = bytearray(base)
    open_writes: list[Entry] = []
    for number, entry in enumerate(entries):
        if entry.is_flush:
            _write(flushed, open_writes)
            open_writes.clear()
        if entry.content:
            open_writes.append(entry)
            if entry.is_fua:
                _write(flushed, [entry])
        if number < from_entry:
            continue
        yield DiskState(_with(flushed, open_writes), number + 1, "all")
        for _ in range(subsets if len(open_writes) > 1 else 0):
            some = [one for one in open_writes if rng.random() < 0.5]
            yield DiskState(_with(flushed, some), number + 1, f"{len(some)} of {len(open_writes)}")


def _write(image: bytearray, writes: list[Entry]) -> None:
    for one in writes:
        image[one.offset : one.offset + len(one.content)] = one.content


def _with(flushed: bytearray, writes: list[Entry]) -> bytes:
    image = bytearray(flushed)
    _write(image, writes)
    return bytes(image)
