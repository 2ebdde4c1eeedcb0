"""The files of all models that hibernate, from outside: counted, removed, never read.

Also without a daemon, for the command line.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = "hibernation"
"""Of the data directory; `daemon/hibernation.py` has the whole layout."""
_SNAPSHOT: Final = ".kv"
_ASIDE: Final = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is on the disk, over all models."""

    snapshots: int
    size_bytes: int
    models: int


def prune(root: Path, limit_bytes: int, *, aside_age_s: float) -> int:
    """Remove what was used longest ago, until the rest fits; returns how many snapshots went."""
    found = sorted(_files(root))
    left, gone = sum(size for _, size, path in found if path.suffix == _SNAPSHOT), 0
    for changed_s, size, path in found:
        if path.suffix == _ASIDE:
            if time.time() - changed_s >= aside_age_s:
                path.unlink(missing_ok=True)
        elif left > limit_bytes:
            path.unlink(missing_ok=True)
            left -= size
            gone += 1
    return gone


def kept(data: Path) -> Kept:
    """What is on the disk now."""
    found = [(size, path) for _, size, path in _files(data / FOLDER) if path.suffix == _SNAPSHOT]
    return Kept(
        snapshots=len(found),
        size_bytes=sum(size for size, _ in found),
        models=len({path.parent for _, path in found}),
    )


def clear(data: Path) -> Kept:
    """Remove all snapshots; returns what they were. Harmless while runners run. Raises OSError."""
    there = kept(data)
    for _, _, path in list(_files(data / FOLDER)):
        path.unlink(missing_ok=True)
    return there


class Snapshots:
    """Those of one data directory, for the door. Any thread: only the disk is asked."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def kept(self) -> Kept:
        return kept(self._data)

    def clear(self) -> Kept:
        return clear(self._data)


def _files(root: Path) -> Iterator[tuple[float, int, Path]]:
    """(last change, size, path) of every snapshot, whole or not. Links are not followed."""
    for directory in _entries(root):
        if not directory.is_dir(follow_symlinks=False):
            continue
        for entry in _entries(Path(directory.path)):
            with suppress(FileNotFoundError):  # its runner was faster
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith((_SNAPSHOT, _ASIDE)) and not stat.S_ISDIR(status.st_mode):
                    yield status.st_mtime, status.st_size, Path(entry.path)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
