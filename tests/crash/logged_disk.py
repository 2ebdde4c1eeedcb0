"""A real ext4 on a disk whose writes are logged: a file behind `qemu-storage-daemon`, seen through FUSE,
mounted by a loop device. Needs root, /dev/fuse and loop devices.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_SYSTEM_BYTES = 6 * 1024 * 1024
DISK_BYTES = FILE_SYSTEM_BYTES + 64 * 1024
"""Behind the file system there is room for marks."""
_LOG_BYTES = 512 * 1024 * 1024
_PATIENCE_S = 10.0


class DiskError(Exception):
    """The machine cannot do it; the text says which step failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDisk:
    """`mounted`: an empty ext4. `base`: the image of it that the log starts from."""

    mounted: Path
    base: Path
    exported: Path
    log: Path

    @contextlib.contextmanager
    def marks(self) -> Iterator[int]:
        """A descriptor: each sector written to it is a mark among the writes."""
        descriptor = os.open(self.exported, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, FILE_SYSTEM_BYTES, os.SEEK_SET)
            yield descriptor
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def logged_disk(folder: Path) -> Iterator[LoggedDisk]:
    """The log is complete when the block has ended."""
    names = ("disk", "log", "base", "exported", "mounted")
    disk, log, base, exported, mounted = (folder / name for name in names)
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    with log.open("wb") as file:
        file.truncate(_LOG_BYTES)
    options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    blocks = str(FILE_SYSTEM_BYTES // 1024)
    _run(["mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1", "-E", options, disk, blocks])
    base.write_bytes(disk.read_bytes()[:FILE_SYSTEM_BYTES])
    exported.touch()
    mounted.mkdir()
    daemon = subprocess.Popen(_storage_daemon(disk, log, exported), stderr=subprocess.PIPE)
    try:
        _wait_for_size(exported, daemon)
        with mounted_image(exported, mounted):
            yield LoggedDisk(mounted=mounted, base=base, exported=exported, log=log)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=_PATIENCE_S)


@contextlib.contextmanager
def mounted_image(image: Path, where: Path, *, options: str = "loop") -> Iterator[None]:
    """Unmounted at the end, whatever happens."""
    _run(["mount", "-t", "ext4", "-o", options, image, where])
    try:
        yield
    finally:
        _run(["umount", where])


def has_sound_file_system(image: Path) -> str | None:
    """What `e2fsck -fn` says of an image whose journal was replayed; None: nothing is wrong."""
    done = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{done.returncode}: {done.stdout[-500:]}"


def _storage_daemon(disk: Path, log: Path, exported: Path) -> list[str]:
    return [
        "qemu-storage-daemon",
        *("--blockdev", f"driver=file,filename={disk},node-name=disk-file"),
        *("--blockdev", "driver=raw,file=disk-file,node-name=disk"),
        *("--blockdev", f"driver=file,filename={log},node-name=log-file"),
        *("--blockdev", "driver=raw,file=log-file,node-name=log"),
        *("--blockdev", "driver=blklogwrites,file=disk,log=log,log-sector-size=512,node-name=logged"),
        *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={exported},writable=on"),
    ]


def _wait_for_size(exported: Path, daemon: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while exported.stat().st_size != DISK_BYTES:
        if daemon.poll() is not None or time.monotonic() > deadline_s:
            ended = daemon.poll() is not None and daemon.stderr is not None
            said = daemon.stderr.read().decode() if ended and daemon.stderr else "nothing"
            raise DiskError(f"the disk was not exported through FUSE; qemu-storage-daemon says: {said}")
        time.sleep(0.02)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiskError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
