"""Who may work on a store: one process by a lock on a file, one thread per blob by a lock in memory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from appliance.errors import StoreInUse
from appliance.store.digest import Digest
from appliance.store.files import Files
from appliance.store.places import Places

_PATIENCE_S: Final = 1.0
"""Between two looks of a waiting thread at whether it shall go on waiting."""


class StoreLock:
    """The flock of a store; the kernel gives it back when the process dies. Owned by the `Layout`."""

    def __init__(self, places: Places, files: Files) -> None:
        """Raises StoreInUse at once when another process (or another `Layout` of this one) has it."""
        self._fd = files.open_ingest(places.lock)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise StoreInUse(directory=str(places.root)) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class BlobLocks:
    """One lock per digest, there only while somebody wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Digest, tuple[threading.Lock, int]] = {}

    @contextmanager
    def alone(self, digest: Digest, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """`waiting` is called every second of waiting, and ends it by raising."""
        lock = self._join(digest)
        try:
            while not lock.acquire(timeout=_PATIENCE_S):
                if waiting:
                    waiting()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._leave(digest)

    @contextmanager
    def alone_now(self, digest: Digest) -> Iterator[bool]:
        """As `alone`, without waiting. False: somebody else is."""
        lock = self._join(digest)
        try:
            is_ours = lock.acquire(blocking=False)
            try:
                yield is_ours
            finally:
                if is_ours:
                    lock.release()
        finally:
            self._leave(digest)

    def busy(self) -> frozenset[Digest]:
        with self._guard:
            return frozenset(self._locks)

    def _join(self, digest: Digest) -> threading.Lock:
        with self._guard:
            lock, count = self._locks.get(digest) or (threading.Lock(), 0)
            self._locks[digest] = (lock, count + 1)
            return lock

    def _leave(self, digest: Digest) -> None:
        with self._guard:
            lock, count = self._locks.pop(digest)
            if count > 1:
                self._locks[digest] = (lock, count - 1)


class Holds:
    """Digests that gc must leave alone though no name leads to them: counted by thread, since several may
    hold one, and one several times.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._holders: dict[Digest, Counter[int]] = {}

    @contextmanager
    def hold(self, digests: frozenset[Digest]) -> Iterator[None]:
        """The holder is the thread that enters: that of a verb."""
        holder = threading.get_ident()
        with self._guard:
            for digest in digests:
                self._holders.setdefault(digest, Counter())[holder] += 1
        try:
            yield
        finally:
            with self._guard:
                for digest in digests:
                    self._release(digest, holder)

    def held(self) -> frozenset[Digest]:
        with self._guard:
            return frozenset(self._holders)

    def held_elsewhere(self, digest: Digest) -> bool:
        """By another thread than the one that asks."""
        with self._guard:
            return bool(self._holders.get(digest, {}).keys() - {threading.get_ident()})

    def _release(self, digest: Digest, holder: int) -> None:
        holders = self._holders[digest]
        holders[holder] -= 1
        if not holders[holder]:
            del holders[holder]
        if not holders:
            del self._holders[digest]
