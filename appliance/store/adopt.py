"""A local file becomes a blob in one pass: hashed while it is copied, or where it can be, not copied at all.

1. `link`: a second name for the file itself, which becomes read-only. It must not change afterwards; if it
   does, it is no longer the file that was verified, and is hashed and found out at its next use.
2. A reflink shares the blocks of the file until one of the two is changed; the clone is what is hashed.
3. Otherwise blocks are read once; while one is hashed, another is written and synced.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from appliance.errors import InsufficientSpace, InvalidRequest, StoreFault
from appliance.store.content import Progress, Report, unreported
from appliance.store.digest import Digest
from appliance.store.files import Files, status_of, status_opened
from appliance.store.ingest import READ_ONLY
from appliance.store.outside import size_at
from appliance.store.places import Places
from appliance.store.space import Room, Space

_BLOCK_BYTES: Final = 4 << 20
_BLOCKS_IN_FLIGHT: Final = 3
_SYNC_EVERY_BYTES: Final = 64 << 20
"""So that the disk writes while we hash, not after it."""


class Adoption:
    """One file on its way in. Owned by one thread."""

    def __init__(
        self, places: Places, files: Files, path: Path, report: Report, *, room: Room, later_bytes: int
    ) -> None:
        """`later_bytes`: what `room` must have beside this file, where it is copied. Raises InvalidRequest
        for what is no plain file.
        """
        self._places = places
        self._files = files
        self._room = room
        self._later_bytes = later_bytes
        self._path = path
        self._report = report
        self._hash = hashlib.sha256()
        self.temporary = places.temporary(f"adopt-{secrets.token_hex(8)}")
        try:
            self._source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InvalidRequest(reason=f"{path} cannot be read: {error.strerror}") from error
        with ExitStack() as undo:
            undo.callback(os.close, self._source)
            self._before = status_opened(self._source)
            if not stat.S_ISREG(self._before.st_mode):
                raise InvalidRequest(reason=f"{path} is not a plain file")
            undo.pop_all()

    @property
    def size(self) -> int:
        return self._before.st_size

    def run(self, *, link: bool) -> Digest:
        """`temporary` holds the whole content, durable but for its name. Raises StoreFault,
        InsufficientSpace, or what `report` raises; then nothing is left.
        """
        try:
            if not (link and self._link()) and not self._clone():
                self._copy()
            self._check_unchanged()
            return Digest(f"sha256:{self._hash.hexdigest()}")
        except BaseException:
            with suppress(StoreFault):
                self._files.unlink(self.temporary)
            raise
        finally:
            os.close(self._source)

    def shares(self, *, link: bool) -> bool:
        """Whether `run` would need no room: tried, and taken back. Instead of `run`."""
        try:
            if link and self._files.link(self._path.resolve(), self.temporary):
                return True
            target = self._files.create(self.temporary)
            try:
                return self._files.reflink(self._source, target)
            finally:
                os.close(target)
        finally:
            self._files.unlink(self.temporary)
            os.close(self._source)

    def _link(self) -> bool:
        if not self._files.link(self._path.resolve(), self.temporary):
            return False
        linked = status_of(self.temporary)
        if linked is None or (linked.st_dev, linked.st_ino) != (self._before.st_dev, self._before.st_ino):
            self._files.unlink(self.temporary)
            return False
        self._files.chmod(self._source, READ_ONLY)
        self._hash_file(self._source)
        self._files.fsync(self._source)
        return True

    def _clone(self) -> bool:
        target = self._files.create(self.temporary)
        try:
            if not self._files.reflink(self._source, target):
                return False
            self._hash_file(target)
            self._files.chmod(target, READ_ONLY)
            self._files.fsync(target)
        finally:
            os.close(target)
        return True

    def _copy(self) -> None:
        self._room.require(self.size + self._later_bytes)
        target = self._files.create(self.temporary)
        try:
            self._files.fallocate(target, self.size)
            self._room.keep(self._later_bytes)
            with (
                ThreadPoolExecutor(1, "store-adopt") as writer,
                ThreadPoolExecutor(1, "store-sync") as syncer,
            ):
                self._pump(target, writer, syncer)
            self._files.chmod(target, READ_ONLY)
            self._files.fsync(target)
        finally:
            os.close(target)

    def _pump(self, target: int, writer: ThreadPoolExecutor, syncer: ThreadPoolExecutor) -> None:
        buffers = [bytearray(_BLOCK_BYTES) for _ in range(_BLOCKS_IN_FLIGHT)]
        writing: deque[Future[None]] = deque()
        syncing: Future[None] | None = None
        position = synced = 0
        for number in range(-(-self.size // _BLOCK_BYTES)):
            if len(writing) == _BLOCKS_IN_FLIGHT:
                writing.popleft().result()
            block = self._read(buffers[number % _BLOCKS_IN_FLIGHT], position)
            writing.append(writer.submit(self._files.pwrite, target, block, position))
            self._hash.update(block)
            position += len(block)
            if position - synced >= _SYNC_EVERY_BYTES and (syncing is None or syncing.done()):
                if syncing:
                    syncing.result()
                syncing, synced = syncer.submit(self._files.fdatasync, target), position
            self._tell(position)
        for future in (*writing, *([syncing] if syncing else [])):
            future.result()

    def _read(self, buffer: bytearray, position: int) -> memoryview:
        view = memoryview(buffer)[: min(_BLOCK_BYTES, self.size - position)]
        try:
            filled = 0
            while filled < len(view):
                got = os.preadv(self._source, [view[filled:]], position + filled)
                if not got:
                    raise StoreFault(path=str(self._path), reason="it became shorter while it was read")
                filled += got
        except OSError as error:
            raise StoreFault(path=str(self._path), reason=error.strerror or str(error)) from error
        return view

    def _hash_file(self, fd: int) -> None:
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        position = 0
        try:
            while got := os.preadv(fd, [buffer], position):
                self._hash.update(buffer[:got])
                position += got
                self._tell(position)
        except OSError as error:
            raise StoreFault(path=str(self._path), reason=error.strerror or str(error)) from error

    def _check_unchanged(self) -> None:
        after = status_opened(self._source)
        if (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise StoreFault(path=str(self._path), reason="it was changed while it was read; try again")

    def _tell(self, position: int) -> None:
        news = Progress(status=f"copying {self._path.name}", total_bytes=self.size, completed_bytes=position)
        self._report(news)


def require_room(
    places: Places, files: Files, space: Space, paths: Sequence[Path], *, link: bool, more_bytes: int
) -> None:
    """Before the first of several files is adopted: room for all of them, as far as they must be copied, and
    for `more_bytes` that will come of them. Raises InvalidRequest, InsufficientSpace.
    """
    size_bytes = sum(size_at(path) for path in paths)
    try:
        space.require(size_bytes + more_bytes)
    except InsufficientSpace:
        with space.room() as room:
            adoptions = (
                Adoption(places, files, path, unreported, room=room, later_bytes=0) for path in paths
            )
            if not all(adoption.shares(link=link) for adoption in adoptions):
                raise
        if more_bytes:
            space.require(more_bytes)
