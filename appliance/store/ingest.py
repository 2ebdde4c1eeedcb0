"""A blob that is arriving: written in any order by several threads, hashed as it grows, resumed after a
crash.

    ingest/<hex>.part   has its full size from the start, so a full disk is known before the first byte
    ingest/<hex>.json   {"size": 1000, "durable": [[0, 400], [600, 700]]}

The state names only ranges whose bytes were synced before it was written. After a power cut these are kept,
all others are fetched again, and everything is hashed anew: what the disk has lost in spite of all is found
by `commit`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import DigestMismatch, StoreFault
from appliance.store.descriptor import Descriptor
from appliance.store.files import Files, read_small, status_opened
from appliance.store.places import Places
from appliance.store.ranges import Ranges

CHECKPOINT_BYTES: Final = 128 << 20
"""After so many new bytes they are made durable: a power cut costs at most these again."""

_HASH_BLOCK_BYTES: Final = 1 << 20
_CATCH_UP_BLOCKS: Final = 8
"""How many blocks that came out of order one writer hashes before it goes back to its stream."""
_MAX_STATE_BYTES: Final = 1 << 20
READ_ONLY: Final = 0o444


class State(msgspec.Struct, forbid_unknown_fields=True):
    """What `<hex>.json` tells of a part: the size of the blob, and what of it is durable."""

    size: int
    durable: list[tuple[int, int]]


class Ingest:
    """Owned by whoever opened it: one at a time for a digest (`Layout` sees to it). `write` and `checkpoint`
    may be called by several threads; `commit` and `close` by the owner when all writers are done.
    """

    def __init__(self, places: Places, files: Files, descriptor: Descriptor) -> None:
        """Raises InsufficientSpace when the disk cannot hold all of it."""
        self.descriptor = descriptor
        self._places = places
        self._files = files
        self._part = places.part(descriptor.digest)
        self._state = places.part_state(descriptor.digest)
        self._lock = threading.Lock()  # guards the ranges and the count of new bytes
        self._hash_lock = threading.Lock()  # guards the hash and how far it has come
        self._checkpoint_lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._new_bytes = 0
        self._fd = -1
        self._present, self._claimed = self._resume()

    @property
    def size(self) -> int:
        return self.descriptor.size

    @property
    def received_bytes(self) -> int:
        with self._lock:
            return self._present.total

    def missing(self) -> list[tuple[int, int]]:
        """Half-open ranges, in order, that have not come."""
        with self._lock:
            return self._present.missing(0, self.size)

    def write(self, offset: int, content: bytes) -> None:
        """Bytes that are already there, or that another thread is just writing, are passed over: what was
        hashed is never written again. Raises DigestMismatch past the end, InsufficientSpace, StoreFault.
        """
        if offset < 0 or offset + len(content) > self.size:
            raise DigestMismatch(
                what=str(self.descriptor.digest),
                expected=f"{self.size} bytes",
                actual=f"{offset + len(content)} or more",
            )
        for start, end in self._claim(offset, offset + len(content)):
            self._write_claimed(start, memoryview(content)[start - offset : end - offset])
        self._catch_up(_CATCH_UP_BLOCKS)
        if self._new_bytes >= CHECKPOINT_BYTES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """What was written so far survives a power cut when this returns."""
        with self._checkpoint_lock:
            with self._lock:
                durable = self._present.as_list()
                self._new_bytes = 0
            self._files.fdatasync(self._fd)
            self._save(durable)

    def commit(self) -> Path:
        """All is there: it becomes a blob, durable when this returns. Raises DigestMismatch (then nothing of
        it is kept), StoreFault when something is missing (then it is kept).
        """
        if left := sum(end - start for start, end in self.missing()):
            raise StoreFault(path=str(self._part), reason=f"{left} of {self.size} bytes have not come")
        self._catch_up(None)
        actual = f"sha256:{self._hash.hexdigest()}"
        if actual != self.descriptor.digest:
            self.discard()
            raise DigestMismatch(what="the blob", expected=self.descriptor.digest, actual=actual)
        self._files.chmod(self._fd, READ_ONLY)
        self._files.fsync(self._fd)
        blob = self._places.blob(self.descriptor.digest)
        self._files.rename(self._part, blob)
        self._files.fsync_dir(self._places.blobs)
        self._files.unlink(self._state)
        self._files.fsync_dir(self._places.ingest)
        self._release()
        return blob

    def close(self) -> None:
        """Keep what has come for another try. Does nothing after `commit` or `discard`."""
        if self._fd < 0:
            return
        try:
            if self.received_bytes:
                self.checkpoint()
            else:
                self.discard()
        finally:
            self._release()

    def discard(self) -> None:
        """Remove it. The state goes first: a part without one counts for nothing."""
        self._release()
        self._files.unlink(self._state)
        self._files.unlink(self._part)
        self._files.fsync_dir(self._places.ingest)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────

    def _resume(self) -> tuple[Ranges, Ranges]:
        state = read_state(self._state)
        durable = state.durable if state and state.size == self.size else None
        self._fd = self._files.open_ingest(self._part)
        try:
            if durable is None or status_opened(self._fd).st_size != self.size:
                durable = []
                self._files.unlink(self._state)
                self._files.truncate(self._fd, 0)
                self._files.fallocate(self._fd, self.size)
                self._save([])
        except BaseException:
            self.discard()
            raise
        return Ranges(durable), Ranges(durable)

    def _save(self, durable: list[tuple[int, int]]) -> None:
        state = State(size=self.size, durable=durable)
        self._files.write_aside(self._state, msgspec.json.encode(state))

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def _claim(self, start: int, end: int) -> list[tuple[int, int]]:
        with self._lock:
            free = self._claimed.missing(start, end)
            for part in free:
                self._claimed.add(*part)
            return free

    def _write_claimed(self, start: int, content: memoryview) -> None:
        end = start + len(content)
        try:
            self._files.pwrite(self._fd, content, start)
        except BaseException:
            with self._lock:
                self._claimed.remove(start, end)
            raise
        self._hash_in_order(start, content)
        with self._lock:
            self._present.add(start, end)
            self._new_bytes += len(content)

    # ── hashing ─────────────────────────────────────────────────────────────────────────────────────

    def _hash_in_order(self, start: int, content: memoryview) -> None:
        """The bytes at hand are hashed without being read back, when they are next and nobody else hashes."""
        if start == self._hashed and self._hash_lock.acquire(blocking=False):
            try:
                if start == self._hashed:
                    self._hash.update(content)
                    self._hashed += len(content)
            finally:
                self._hash_lock.release()

    def _catch_up(self, blocks: int | None) -> None:
        """Hash what came out of order and is now contiguous, from the page cache. None: all of it."""
        if not self._hash_lock.acquire(blocking=blocks is None):
            return
        try:
            with self._lock:
                ready = self._present.end_of(self._hashed)
            if blocks is not None:
                ready = min(ready, self._hashed + blocks * _HASH_BLOCK_BYTES)
            while self._hashed < ready:
                block = os.pread(self._fd, min(_HASH_BLOCK_BYTES, ready - self._hashed), self._hashed)
                if not block:
                    raise StoreFault(path=str(self._part), reason="it became shorter while it was read")
                self._hash.update(block)
                self._hashed += len(block)
        except OSError as error:
            raise StoreFault(path=str(self._part), reason=error.strerror or str(error)) from error
        finally:
            self._hash_lock.release()


def read_state(path: Path) -> State | None:
    """None when there is no state, or none that can be."""
    content = read_small(path, _MAX_STATE_BYTES)
    if content is None:
        return None
    try:
        state = msgspec.json.decode(content, type=State)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if any(not 0 <= start < end <= state.size for start, end in state.durable):
        return None
    return state
