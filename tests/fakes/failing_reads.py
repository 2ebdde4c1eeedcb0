"""The store's file module on a machine that does not give a file back just now."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from appliance.errors import StoreFault
from tests.fakes.model_files import UnsyncedFiles


class FailingReads(UnsyncedFiles):
    """Knobs, each a number of errno: `at_open`, `at_read`; of files whose name is in `names`, which grow by
    `fail`. `reads_before` so many reads of such a file go well.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.at_open: int | None = None
        self.at_read: int | None = None
        self.reads_before = 0
        self._opened: dict[int, str] = {}

    def open_existing(self, path: Path) -> int:
        if path.name in self.names and self.at_open is not None:
            raise _refused(path, self.at_open)
        descriptor = super().open_existing(path)
        self._opened[descriptor] = path.name
        return descriptor

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        name = self._opened.get(descriptor)
        if name in self.names and self.at_read is not None:
            if self.reads_before == 0:
                raise _refused(Path(name or ""), self.at_read)
            self.reads_before -= 1
        return super().pread(descriptor, length, offset)

    def heal(self) -> None:
        self.names.clear()


def _refused(path: Path, number: int) -> StoreFault:
    fault = StoreFault(path=str(path), reason=os.strerror(number))
    fault.__cause__ = OSError(number, os.strerror(number))
    return fault


Fail = Callable[[FailingReads, int], None]


def opening(files: FailingReads, number: int) -> None:
    files.at_open = number


def reading(files: FailingReads, number: int) -> None:
    files.at_read = number
