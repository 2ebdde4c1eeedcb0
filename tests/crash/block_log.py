"""The log of writes to a block device, as QEMU's `blklogwrites` keeps it (the format of dm-log-writes), and
the disks that a power cut could have left.

    between two flushes a disk may keep any of its writes, in any combination; it has what came before a flush

Behind the file system lie sectors of nobody: what is written there is a mark, a line that tells what the
program had promised by then.
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

    def mark(self, file_system_bytes: int) -> str | None:
        """Its line, if it is one."""
        return self.content.decode().strip() if self.content and self.offset >= file_system_bytes else None


@dataclass(frozen=True, slots=True)
class DiskState:
    image: bytearray
    entries: int
    """Requests of the log that had been sent."""
    kept: str
    marks: tuple[str, ...] = ()
    """Lines that had been said by then."""


def read_log(path: Path) -> list[Entry]:
    """Raises ValueError for a log that is not one. Discards are left out: they promise nothing."""
    entries = []
    with path.open("rb") as log:  # a sparse file, far larger than what is in it
        magic, version, count, sector = _SUPER.unpack(log.read(_SUPER.size))
        if magic != _MAGIC or version != 1:
            raise ValueError(f"no log of writes: {path}")
        log.seek(sector)
        for _ in range(count):
            first, sectors, flags, _ = _ENTRY.unpack_from(log.read(sector))
            if not flags & _DISCARD:
                content = log.read(sectors * sector)
                entries.append(Entry(first * sector, content, bool(flags & _FLUSH), bool(flags & _FUA)))
    return entries


def disk_states(
    base: bytes, entries: list[Entry], *, seed: int, subsets: int, most: int, from_entry: int = 0
) -> Iterator[DiskState]:
    """The disk after requests from `from_entry` on, and with random choices of the writes since the last
    flush: at most `most`, spread over the log, the first and the last among them. `base` is the file system
    without the marks behind it.
    """
    marks = [entry.mark(len(base)) for entry in entries]
    candidates = sum(1 + subsets * (count > 1) for _, _, count in _moments(base, entries, from_entry))
    wanted = {(candidates - 1) * place // max(1, most - 1) for place in range(most)}
    rng, number = random.Random(seed), 0
    for after, (flushed, open_writes), count in _moments(base, entries, from_entry):
        for choice in range(1 + subsets * (count > 1)):
            if number in wanted:
                kept = [one for one in open_writes if choice == 0 or rng.random() < 0.5]
                said = tuple(mark for mark in marks[:after] if mark)
                words = f"{len(kept)} of {count}" if choice else "all"
                yield DiskState(_with(flushed, kept), after, words, said)
            number += 1


def _moments(
    base: bytes, entries: list[Entry], from_entry: int
) -> Iterator[tuple[int, tuple[bytearray, list[Entry]], int]]:
    """After each request: its number, what is sure with what is not (valid until the next), and how much."""
    flushed = bytearray(base)
    open_writes: list[Entry] = []
    for number, entry in enumerate(entries):
        if entry.is_flush:
            _write(flushed, open_writes)
            open_writes.clear()
        if entry.content and entry.offset < len(base):
            open_writes.append(entry)
            if entry.is_fua:
                _write(flushed, [entry])
        if number >= from_entry:
            yield number + 1, (flushed, open_writes), len(open_writes)


def _write(image: bytearray, writes: list[Entry]) -> None:
    for one in writes:
        image[one.offset : one.offset + len(one.content)] = one.content


def _with(flushed: bytearray, writes: list[Entry]) -> bytearray:
    image = bytearray(flushed)
    _write(image, writes)
    return image
