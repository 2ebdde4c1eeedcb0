"""THE door through which the store writes: every file operation that changes the disk is a method of `Files`.

Durable operations are built of the small ones here (write, sync, rename, sync of the directory), so that a
harness which records or breaks the small ones sees all there is. Refusals of the operating system leave as
errors of the tree: a full disk is `InsufficientSpace`, everything else `StoreFault`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from appliance.errors import FileUnreadable, InsufficientSpace, StoreFault

TEMPORARY: Final = ".tmp"
"""Ends the names of files that are not yet what they will be. Recovery removes what is left of them."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT: Final = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOTTY,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
    }
)
"""Answers that mean: not on this file system, or not between these two; another way is taken."""

_REASONS: Final = {
    errno.EIO: "input/output error: the medium is failing or was removed",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files in the system",
    errno.EFBIG: "the file system does not take files this large (FAT: 4 GB)",
    errno.ELOOP: "it is a symbolic link, which the store does not follow",
}

_BLOCK_BYTES: Final = 1 << 20

FICLONE: Final = 0x40049409
"""ioctl of linux/fs.h: share all extents of another file (btrfs, xfs, bcachefs)."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Files:
    """Stateless; any thread. Descriptors are plain numbers and belong to the caller."""

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────

    def create(self, path: Path) -> int:
        """A new empty file for writing and reading; what stood there is emptied. No links are followed."""
        with _faults(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, 0o644)

    def open_ingest(self, path: Path) -> int:
        """A file that grows over several tries: opened as it is, made when it is not there. One that was made
        read-only just before a crash, on its way to its name, is writable again.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with _faults(path):
            try:
                return os.open(path, flags, 0o644)
            except PermissionError:
                self._make_writable(path)
                return os.open(path, flags, 0o644)

    def open_existing(self, path: Path) -> int:
        """For reading. A link or anything but a plain file is refused."""
        with _faults(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            if not stat.S_ISREG(status_opened(descriptor).st_mode):
                raise StoreFault(path=str(path), reason="it is not a plain file")
            undo.pop_all()
        return descriptor

    def _make_writable(self, path: Path) -> None:
        descriptor = self.open_existing(path)
        try:
            self.chmod(descriptor, 0o644)
        finally:
            os.close(descriptor)

    def mkdir(self, path: Path) -> bool:
        """Whether it had to be made. The caller syncs the directory above."""
        with _faults(path):
            try:
                path.mkdir(0o755)
            except FileExistsError:
                return False
            return True

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        """At most so many bytes; none behind the end."""
        with _faults(descriptor):
            return os.pread(descriptor, length, offset)

    # ── content ─────────────────────────────────────────────────────────────────────────────────────

    def pwrite(self, descriptor: int, content: bytes | memoryview, offset: int) -> None:
        """All of it, however often the kernel takes only a part."""
        view = memoryview(content)
        with _faults(descriptor, needed_bytes=len(view)):
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset += written
                view = view[written:]

    def fallocate(self, descriptor: int, size: int) -> None:
        """Give the file its size, and its blocks where the file system can: a full disk is known now."""
        if size == 0:
            return
        with _faults(descriptor, needed_bytes=size):
            if _libc.fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
                return
            number = ctypes.get_errno()
            if number not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise OSError(number, os.strerror(number))
            os.ftruncate(descriptor, size)

    def truncate(self, descriptor: int, size: int) -> None:
        with _faults(descriptor):
            os.ftruncate(descriptor, size)

    def reflink(self, source: int, target: int) -> bool:
        """Share the blocks of the whole source. False: not here."""
        with _faults(target):
            try:
                fcntl.ioctl(target, FICLONE, source)
            except OSError as error:
                if error.errno in _CANNOT:
                    return False
                raise
            return True

    def chmod(self, descriptor: int, mode: int) -> None:
        """Where the file system knows modes; FAT does not, and loses nothing by it."""
        with _faults(descriptor):
            try:
                os.fchmod(descriptor, mode)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise

    # ── durability ──────────────────────────────────────────────────────────────────────────────────

    def fsync(self, descriptor: int) -> None:
        with _faults(descriptor):
            os.fsync(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        with _faults(descriptor):
            os.fdatasync(descriptor)

    def fsync_dir(self, path: Path) -> None:
        """Names made, moved or removed in it are durable when this returns."""
        with _faults(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # ── names ───────────────────────────────────────────────────────────────────────────────────────

    def rename(self, source: Path, target: Path) -> None:
        """Within one file system; replaces the target in one step."""
        with _faults(target):
            source.rename(target)

    def link(self, source: Path, target: Path) -> bool:
        """A second name for a plain file. False: not here, or not between these two."""
        with _faults(target):
            try:
                os.link(source, target, follow_symlinks=False)
            except OSError as error:
                if error.errno in _CANNOT:
                    return False
                raise
            return True

    def unlink(self, path: Path) -> bool:
        """Whether it was there."""
        with _faults(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            return True

    def rmdir(self, path: Path) -> bool:
        """Whether it went; a directory that is not empty stays."""
        with suppress(OSError):
            path.rmdir()
            return True
        return False

    # ── built of the above ──────────────────────────────────────────────────────────────────────────

    def write_aside(self, path: Path, content: bytes) -> None:
        """Replace a small file: after a crash it is the old or the new one; durable when this returns."""
        aside = path.with_name(path.name + TEMPORARY)
        self.write_durably(aside, content)
        try:
            self.rename(aside, path)
        except BaseException:
            with suppress(StoreFault):
                self.unlink(aside)
            raise
        self.fsync_dir(path.parent)

    def write_durably(self, path: Path, content: bytes, *, mode: int | None = None) -> None:
        """Content only: the caller makes the name durable. What could not be written whole is removed."""
        descriptor = self.create(path)
        try:
            self.pwrite(descriptor, content, 0)
            if mode is not None:
                self.chmod(descriptor, mode)
            self.fsync(descriptor)
        except BaseException:
            with suppress(StoreFault):
                self.unlink(path)
            raise
        finally:
            os.close(descriptor)


def status_of(path: Path) -> os.stat_result | None:
    """What stands there, links not followed; None: nothing. A failed look is a StoreFault, not an absence."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _fault(path, error) from error


def status_opened(descriptor: int) -> os.stat_result:
    """As `status_of`, of an open file."""
    with _faults(descriptor):
        return os.fstat(descriptor)


def read_small(path: Path, limit_bytes: int) -> bytes | None:
    """A plain file, at most one byte more than the limit; None: nothing there. A link, a device or a pipe in
    its place (a stick may hold anything) is a StoreFault, and is never waited for.
    """
    if status_of(path) is None:
        return None
    descriptor = Files().open_existing(path)
    try:
        return b"".join(iter_bytes(descriptor, 0, limit_bytes + 1))
    finally:
        os.close(descriptor)


def iter_bytes(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Blocks of a file, to `end` or where it ends."""
    while start < end:
        with _faults(descriptor):
            block = os.pread(descriptor, min(_BLOCK_BYTES, end - start), start)
        if not block:
            return
        yield block
        start += len(block)


@contextmanager
def _faults(where: Path | int, *, needed_bytes: int = 0) -> Iterator[None]:
    """Refusals of the operating system become errors of the tree."""
    try:
        yield
    except OSError as error:
        raise _fault(where, error, needed_bytes=needed_bytes) from error


def _fault(where: Path | int, error: OSError, *, needed_bytes: int = 0) -> InsufficientSpace | StoreFault:
    path = _path_of(where)
    if error.errno in _FULL:
        return _full(path, needed_bytes)
    return StoreFault(path=str(path), reason=reason_of(error))


def reason_of(error: OSError) -> str:
    """What a refusal of the operating system means for a store."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def only_read() -> Iterator[None]:
    """A refusal of the operating system inside is one of reading: FileUnreadable, no verdict on the file."""
    try:
        yield
    except StoreFault as fault:
        cause = fault.__cause__
        if not isinstance(cause, OSError):
            raise
        path, reason = fault.fields["path"], fault.fields["reason"]
        raise FileUnreadable(path=path, reason=reason, errno=cause.errno or 0) from cause


def _path_of(where: Path | int) -> Path:
    if isinstance(where, Path):
        return where
    try:
        return Path(f"/proc/self/fd/{where}").readlink()
    except OSError:
        return Path(f"(file {where})")


def _full(path: Path, needed_bytes: int) -> InsufficientSpace:
    try:
        disk = os.statvfs(path.parent)
        available = disk.f_bavail * disk.f_frsize
    except OSError:
        available = 0
    return InsufficientSpace(
        needed_bytes=needed_bytes, available_bytes=available, floor_bytes=0, directory=str(path.parent)
    )
