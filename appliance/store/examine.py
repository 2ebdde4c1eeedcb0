"""Whether a blob on the disk is still what its name says, in steps of any size. Nothing is written."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from appliance.errors import StoreFault
from appliance.store.digest import Digest, hex_of
from appliance.store.files import Files

BLOCK_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(BLOCK_BYTES)


class Examination:
    """One reading of one blob. Owned by one thread; the file is kept open, so a blob that is replaced or
    removed meanwhile does not disturb it. `from_disk`: not from the page cache, which would hide what the
    disk has lost. `within`: first byte and end of a blob that is a part of the file.
    """

    def __init__(
        self,
        files: Files,
        path: Path,
        digest: Digest,
        *,
        from_disk: bool,
        within: tuple[int, int] | None = None,
    ) -> None:
        self.digest = digest
        self.path = path
        self._from_disk = from_disk
        self._fd = files.open_existing(path)
        self.found = os.fstat(self._fd)
        self._hash = hashlib.sha256()
        self._start = within[0] if within else 0
        self._end = within[1] if within else None
        self._position = 0
        self._zero = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, budget_bytes: int) -> int:
        """Read up to so many bytes; how many it were. 0: the end."""
        start = self._position
        self._advise(start, budget_bytes)
        try:
            while (left := self._left(start + budget_bytes)) > 0:
                block = os.pread(self._fd, min(BLOCK_BYTES, left), self._start + self._position)
                if not block:
                    break
                self._hash.update(block)
                self._zero = self._zero and block == (
                    _ZEROS if len(block) == BLOCK_BYTES else bytes(len(block))
                )
                self._position += len(block)
        except OSError as error:
            raise StoreFault(path=str(self.path), reason=error.strerror or str(error)) from error
        self._advise(start, self._position - start)
        return self._position - start

    def finish(self) -> str | None:
        """Read to the end; the verdict."""
        while self.step(64 * BLOCK_BYTES):
            pass
        return self.verdict()

    def verdict(self, expected_bytes: int | None = None) -> str | None:
        """After the end: None when sound, else what is wrong with it."""
        if self._hash.hexdigest() == hex_of(self.digest):
            return None
        if expected_bytes is not None and self._position < expected_bytes:
            return f"blob {self.digest} is truncated: {self._position} of {expected_bytes} bytes"
        if self._zero:
            return f"blob {self.digest} is zeroed: {self._position} bytes, all zero"
        return f"blob {self.digest} has changed: its bytes hash to sha256:{self._hash.hexdigest()}"

    def is_current(self) -> bool:
        """Whether the name still leads to the file that was read, untouched since."""
        with suppress(OSError):
            now = self.path.lstat()
            same = (now.st_dev, now.st_ino) == (self.found.st_dev, self.found.st_ino)
            return same and (now.st_size, now.st_mtime_ns) == (self.found.st_size, self.found.st_mtime_ns)
        return False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _left(self, until: int) -> int:
        """How many bytes there are to read up to this position, or to the end of the part."""
        size = until if self._end is None else min(until, self._end - self._start)
        return size - self._position

    def _advise(self, start: int, length: int) -> None:
        if self._from_disk and length:
            with suppress(OSError):
                os.posix_fadvise(self._fd, self._start + start, length, os.POSIX_FADV_DONTNEED)
