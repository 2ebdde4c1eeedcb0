"""The snapshots of one directory: read in, read, written, removed. The only module here that touches files.

A file is written aside, synced, renamed, and the directory synced: after a power cut it is there whole or not
at all. Where a model has to go there is no time to sync: a power cut before the kernel has written it leaves
a file whose seals are wrong, as does a disk that loses bytes later. Links are not followed, and nothing but a
plain file is read. Blocks; on the reader's and the writer's thread. Refusals of the system leave as OSError.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.engine.hibernation.snapshot import (
    HEAD_BYTES,
    NAME_CHARACTERS,
    SEAL_BYTES,
    SUFFIX,
    Head,
    Sealer,
    SnapshotForeign,
    SnapshotInvalid,
    head_tokens,
)

ASIDE: Final = ".part"
"""Ends the names of files that are not whole yet; the daemon removes those of runners that are gone."""
_CHUNK_BYTES: Final = 4 << 20


class WriteGivenUp(Exception):
    """There was no time for the rest."""


class NoRoom(Exception):
    """The floor of free space would be passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What stood in the directory."""

    heads: list[tuple[str, Head]]
    """Oldest first."""
    foreign: int
    refused: int
    """These were removed."""


class Shelf:
    """Stateless but for its settings; any thread."""

    def __init__(
        self,
        directory: str,
        *,
        sealer: Sealer,
        fingerprint: bytes,
        floor_bytes: int,
        most_tokens: int,
    ) -> None:
        """`floor_bytes` stay free on the disk. `most_tokens`: no snapshot has more."""
        self._directory = Path(directory)
        self._sealer = sealer
        self._fingerprint = fingerprint
        self._floor_bytes = floor_bytes
        self._most_tokens = most_tokens

    def read_in(self) -> Listing:
        """The heads of all. What is no snapshot of ours under its own name is removed."""
        found: list[tuple[int, str, Head]] = []
        foreign = refused = 0
        for name in sorted(path.name for path in self._directory.iterdir()):
            if not name.endswith(SUFFIX):
                continue
            try:
                found.append(self._read_in(name))
            except SnapshotForeign:
                foreign += 1
            except SnapshotInvalid:
                refused += 1
                self.remove(name)
            except OSError:
                refused += 1  # a link, a pipe without a writer, a disk that fails: it stays for whoever looks
        found.sort(key=lambda one: one[:2])
        return Listing(heads=[(name, head) for _, name, head in found], foreign=foreign, refused=refused)

    def read(self, name: str, head: Head, *, room_before: int = 0) -> NDArray[np.uint8]:
        """The whole state, behind `room_before` bytes of room. Raises SnapshotInvalid, when a byte of the
        file is not as it was written, and OSError.
        """
        with self._open(name) as (descriptor, status):
            content = _read(descriptor, HEAD_BYTES + len(head.tokens))
            if status.st_size != head.file_bytes:
                raise SnapshotInvalid("it has another size")
            if self._sealer.read_head(name, content, fingerprint=self._fingerprint) != head:
                raise SnapshotInvalid("it is another one by now")
            seal = self._sealer.begin_state(content)
            buffer = np.empty(room_before + head.state_bytes, np.uint8)
            view = memoryview(buffer.data)[room_before:]
            for start in range(0, len(view), _CHUNK_BYTES):
                chunk = view[start : start + _CHUNK_BYTES]
                _read_into(descriptor, chunk)
                seal.update(chunk)
            if not secrets.compare_digest(seal.digest(), _read(descriptor, SEAL_BYTES)):
                raise SnapshotInvalid("the seal of its state is wrong")
        return buffer

    def write(
        self,
        head: Head,
        state: NDArray[np.uint8],
        *,
        goes_on: Callable[[], bool],
        sync: Callable[[int], None] = os.fsync,
    ) -> str:
        """Returns its name. `goes_on` is asked every few megabytes. What is not finished leaves nothing.
        `sync` makes an open file, and then the directory, durable.

        Raises WriteGivenUp, NoRoom and OSError.
        """
        self._require_room(head.file_bytes)
        name = self._sealer.name(head)
        aside = self._directory / f"{secrets.token_hex(NAME_CHARACTERS // 2)}{ASIDE}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(aside, flags, 0o600)
        try:
            try:
                self._fill(descriptor, head, state, goes_on)
                sync(descriptor)
            finally:
                os.close(descriptor)
            aside.rename(self._directory / name)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise
        self._sync_directory(sync)
        return name

    def touch(self, name: str) -> None:
        """It was used: the daemon, which removes the oldest over all models, sees it by the time of its last
        change.
        """
        descriptor = os.open(self._directory / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, os.pread(descriptor, 1, 0), 0)
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Also when it is gone already; what cannot be removed stays."""
        with suppress(OSError):
            (self._directory / name).unlink()

    def _read_in(self, name: str) -> tuple[int, str, Head]:
        with self._open(name) as (descriptor, status):
            start = _read(descriptor, HEAD_BYTES)
            n_tokens = head_tokens(start)
            if n_tokens > self._most_tokens:
                raise SnapshotForeign("it is of a larger context")
            content = start + _read(descriptor, 4 * n_tokens)
            head = self._sealer.read_head(name, content, fingerprint=self._fingerprint)
            if status.st_size != head.file_bytes:
                raise SnapshotInvalid("it has another size")
            return status.st_mtime_ns, name, head

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[int, os.stat_result]]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._directory / name, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SnapshotInvalid("it is not a plain file")
            yield descriptor, status
        finally:
            os.close(descriptor)

    def _fill(
        self, descriptor: int, head: Head, state: NDArray[np.uint8], goes_on: Callable[[], bool]
    ) -> None:
        start = self._sealer.write_head(head)
        seal = self._sealer.begin_state(start)
        _write(descriptor, memoryview(start))
        view = memoryview(state.data)
        for begin in range(0, len(view), _CHUNK_BYTES):
            if not goes_on():
                raise WriteGivenUp
            chunk = view[begin : begin + _CHUNK_BYTES]
            _write(descriptor, chunk)
            seal.update(chunk)
        _write(descriptor, memoryview(seal.digest()))

    def _require_room(self, n_bytes: int) -> None:
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize - n_bytes < self._floor_bytes:
            raise NoRoom

    def _sync_directory(self, sync: Callable[[int], None]) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def _read(descriptor: int, n_bytes: int) -> bytes:
    """Raises SnapshotInvalid where the file ends before."""
    content = bytearray(n_bytes)
    _read_into(descriptor, memoryview(content))
    return bytes(content)


def _read_into(descriptor: int, view: memoryview) -> None:
    while view:
        n_read = os.readv(descriptor, [view])
        if n_read == 0:
            raise SnapshotInvalid("it ends too early")
        view = view[n_read:]


def _write(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]
