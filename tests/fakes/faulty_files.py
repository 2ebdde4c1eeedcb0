"""`Files` on a machine that fails: at the n-th operation a typed error, or death from there on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from appliance.errors import InsufficientSpace, OutpostError, StoreFault
from appliance.store.files import Files

T = TypeVar("T")


class Death(BaseException):
    """The process is gone; nobody may catch it and go on."""


class FaultyFiles(Files):
    """Counts operations in `operations`; number `fails_at` (from 1) does not happen. With `dies`, none after
    it does either.
    """

    def __init__(self, *, fails_at: int | None = None, full: bool = False, dies: bool = False) -> None:
        self.operations = 0
        self._fails_at = fails_at
        self._full = full
        self._dies = dies

    def create(self, path: Path) -> int:
        return self._run(lambda: super(FaultyFiles, self).create(path))

    def open_ingest(self, path: Path) -> int:
        return self._run(lambda: super(FaultyFiles, self).open_ingest(path))

    def mkdir(self, path: Path) -> bool:
        return self._run(lambda: super(FaultyFiles, self).mkdir(path))

    def pwrite(self, descriptor: int, content: bytes | memoryview, offset: int) -> None:
        half = len(content) // 2
        self._run(
            lambda: super(FaultyFiles, self).pwrite(descriptor, content, offset),
            torn=lambda: super(FaultyFiles, self).pwrite(descriptor, memoryview(content)[:half], offset),
        )

    def fallocate(self, descriptor: int, size: int) -> None:
        self._run(lambda: super(FaultyFiles, self).fallocate(descriptor, size))

    def truncate(self, descriptor: int, size: int) -> None:
        self._run(lambda: super(FaultyFiles, self).truncate(descriptor, size))

    def fsync(self, descriptor: int) -> None:
        self._run(lambda: None)

    def fdatasync(self, descriptor: int) -> None:
        self._run(lambda: None)

    def fsync_dir(self, path: Path) -> None:
        self._run(lambda: None)

    def rename(self, source: Path, target: Path) -> None:
        self._run(lambda: super(FaultyFiles, self).rename(source, target))

    def link(self, source: Path, target: Path) -> bool:
        return self._run(lambda: super(FaultyFiles, self).link(source, target))

    def unlink(self, path: Path) -> bool:
        return self._run(lambda: super(FaultyFiles, self).unlink(path))

    def _run(self, operation: Callable[[], T], torn: Callable[[], object] | None = None) -> T:
        self.operations += 1
        if self._fails_at is None or self.operations < self._fails_at:
            return operation()
        if self.operations == self._fails_at:
            if torn:
                torn()
            if not self._dies:
                raise self._error()
        if self._dies:
            raise Death
        return operation()

    def _error(self) -> OutpostError:
        if self._full:
            return InsufficientSpace(needed_bytes=1, available_bytes=0, floor_bytes=0, directory="disk")
        return StoreFault(path="disk", reason="input/output error")
