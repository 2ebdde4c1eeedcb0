"""Whether a blob on the disk is still what its name says, in steps of any size.

A file that the disk does not give back is as lost as one that has changed: that it cannot be read is a
verdict. Only what this process lacks (descriptors, memory) says nothing of the blob, and is a StoreFault.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from appliance.errors import StoreFault
from appliance.store.digest import Digest, hex_of
from appliance.store.files import Files, status_opened

if TYPE_CHECKING:  # a list needs none of it
    from appliance.store.content import Wanted

BLOCK_BYTES: Final = 1 << 20
_WANTED_BYTES: Final = 4 * BLOCK_BYTES
"""Also a slow card gives so many in a second."""
_ZEROS: Final = bytes(BLOCK_BYTES)
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
"""Another try may go well."""


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
        """Raises StoreFault for want of what is ours."""
        self._files = files
        self.digest = digest
        self.path = path
        self._from_disk = from_disk
        self._hash = hashlib.sha256()
        self._start = within[0] if within else 0
        self._end = within[1] if within else None
        self._position = 0
        self._zero = True
        self._fd = -1
        self.lost: StoreFault | None = None
        """Why it cannot be read: that it was not found to be wrong, but is not given back."""
        self._found = _look(path)
        """None: it cannot even be looked at, or is gone."""
        try:
            self._fd = files.open_existing(path)
            self._found = status_opened(self._fd)
        except StoreFault as fault:
            self._lose(fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def found(self) -> os.stat_result:
        """Of the file that is read."""
        assert self._found is not None
        return self._found

    def step(self, budget_bytes: int) -> int:
        """Read up to so many bytes; how many it were. 0: the end, or it cannot be read further. Raises
        StoreFault for want of what is ours.
        """
        if self.lost is not None:
            return 0
        start = self._position
        self._advise(start, budget_bytes)
        try:
            while (left := self._left(start + budget_bytes)) > 0:
                block = self._files.pread(self._fd, min(BLOCK_BYTES, left), self._start + self._position)
                if not block:
                    break
                self._hash.update(block)
                self._zero = self._zero and block == (
                    _ZEROS if len(block) == BLOCK_BYTES else bytes(len(block))
                )
                self._position += len(block)
        except StoreFault as fault:
            self._lose(fault)
            return 0
        self._advise(start, self._position - start)
        return self._position - start

    def finish(self, wanted: Wanted = lambda: None) -> str | None:
        """Read to the end; the verdict. Raises what `wanted` does, asked before each few megabytes."""
        wanted()
        while self.step(_WANTED_BYTES):
            wanted()
        return self.verdict()

    def verdict(self, expected_bytes: int | None = None) -> str | None:
        """After the end: None when sound, else what is wrong with it."""
        if self.lost is not None:
            return f"blob {self.digest} cannot be read: {self.lost.fields['reason']}"
        if self._hash.hexdigest() == hex_of(self.digest):
            return None
        if expected_bytes is not None and self._position < expected_bytes:
            return f"blob {self.digest} is truncated: {self._position} of {expected_bytes} bytes"
        if self._zero:
            return f"blob {self.digest} is zeroed: {self._position} bytes, all zero"
        return f"blob {self.digest} has changed: its bytes hash to sha256:{self._hash.hexdigest()}"

    def is_current(self) -> bool:
        """Whether the name still leads to the file that was read, untouched since; or to one that can still
        not be looked at.
        """
        try:
            now = self.path.lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return self._found is None
        then = self._found
        if then is None or (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino):
            return False
        return (now.st_size, now.st_mtime_ns) == (then.st_size, then.st_mtime_ns)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _left(self, until: int) -> int:
        """How many bytes there are to read up to this position, or to the end of the part."""
        size = until if self._end is None else min(until, self._end - self._start)
        return size - self._position

    def _lose(self, fault: StoreFault) -> None:
        cause = fault.__cause__
        if isinstance(cause, OSError) and cause.errno in _OURS:
            raise fault
        self.lost = fault

    def _advise(self, start: int, length: int) -> None:
        if self._from_disk and length:
            with suppress(OSError):
                os.posix_fadvise(self._fd, self._start + start, length, os.POSIX_FADV_DONTNEED)


def _look(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return path.lstat()
    return None
