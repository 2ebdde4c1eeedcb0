"""Which blobs are known to be sound, so that opening a model costs no hashing.

A blob is known by device, inode, size and modification time: what else has become of the file, it must be
hashed before it is used. What was learned shortly before an unclean stop is not believed afterwards: a
machine that loses power may lose bytes its disk had promised to keep. Only entries that outlived that doubt
are *settled*.

    {"blobs": {"<hex>": [device, inode, size, mtime_ns, settled]}}
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from appliance.errors import StoreFault
from appliance.store.digest import Digest, hex_of
from appliance.store.files import Files, read_small
from appliance.store.places import Places

SETTLED_AFTER_S: Final = 600.0
"""A disk's own caches are written long before that."""

_MAX_BYTES: Final = 64 << 20


class _Entry(NamedTuple):
    device: int
    inode: int
    size: int
    mtime_ns: int
    settled: bool


class _Document(msgspec.Struct):
    blobs: dict[str, _Entry]


class Verified:
    """Any thread; guarded by a lock of its own. A file that cannot be read counts as an empty one: all it
    costs is hashing.
    """

    def __init__(
        self,
        places: Places | None = None,
        *,
        clean: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clean`: the store was closed in order; else entries that are not settled are dropped. Without
        `places` nothing is read, and nothing may be settled.
        """
        self._path = places.verified if places else None
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._save_lock = threading.Lock()
        self._fresh: dict[str, float] = {}
        self._entries = {
            name: entry._replace(settled=True)
            for name, entry in _read(self._path).items()
            if clean or entry.settled
        }
        self._saved = dict(self._entries)
        self._is_unsaved = False

    def knows(self, digest: Digest, found: os.stat_result) -> bool:
        with self._lock:
            entry = self._entries.get(hex_of(digest))
        return entry is not None and entry[:4] == _identity(found)

    def record(self, digest: Digest, found: os.stat_result) -> None:
        """The file with this status was just hashed and is what its name says. One that is known as the same
        stays as settled as it was.
        """
        name = hex_of(digest)
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry[:4] == _identity(found):
                return
            self._entries[name] = _Entry(*_identity(found), False)
            self._fresh[name] = self._monotonic()

    def forget(self, digest: Digest) -> None:
        with self._lock:
            self._entries.pop(hex_of(digest), None)
            self._fresh.pop(hex_of(digest), None)

    def settle(self, files: Files, *, closing: bool = False) -> None:
        """Note what has outlived the doubt; writes only when there is news. Call it now and then. `closing`:
        the store is closed in order, so all is kept.
        """
        with self._lock:
            limit = self._monotonic() - SETTLED_AFTER_S
            due = [name for name, since in self._fresh.items() if closing or since <= limit]
            for name in due:
                del self._fresh[name]
                self._entries[name] = self._entries[name]._replace(settled=True)
            is_news = self._entries != self._saved and (bool(due) or self._is_unsaved or closing)
            self._is_unsaved = is_news
        if is_news:
            self.save(files)

    def save(self, files: Files) -> None:
        with self._save_lock:  # one file aside, one writer
            with self._lock:
                entries = dict(self._entries)
            if self._path:
                files.write_aside(self._path, msgspec.json.encode(_Document(blobs=entries)))
            with self._lock:
                self._saved = entries
                self._is_unsaved = False


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path | None) -> dict[str, _Entry]:
    try:
        content = read_small(path, _MAX_BYTES) if path else None
        return msgspec.json.decode(content, type=_Document).blobs if content else {}
    except (StoreFault, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
