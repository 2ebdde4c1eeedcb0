"""What a scenario does to the disk, and at which system calls it can be hit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.crash.actor import play
from tests.crash.call_points import LOOKING, Point, read_points
from tests.crash.disk_model import Disk
from tests.crash.scenarios import SCENARIOS, prepare
from tests.crash.strace_log import MAX_STRING, TRACED, Operation, Reader
from tests.crash.trees import read_tree


@dataclass(frozen=True, slots=True)
class Trace:
    root: str
    start: Disk
    operations: list[Operation]


def trace(name: str, folder: Path, *, bug: str = "") -> Trace:
    root = folder / "store"
    prepare_root(name, root)
    reader, start = Reader(root=str(root)), _snapshot(root)
    reader.start_with(start.names)
    log = folder / "strace.log"
    options = ["-f", "-y", "-xx", "-s", str(MAX_STRING), "-e", f"trace={TRACED}", "-o", str(log)]
    _watch(name, root, options, bug)
    operations = reader.read(log)
    for path, inode in reader.outside.items():
        start.names[path] = inode
        start.contents[inode] = Path(path).read_bytes()
    return Trace(str(root), start, operations)


def points_of(name: str, prepared: Path, folder: Path, *, bug: str = "") -> list[Point]:
    """Each system call of the scenario that concerns the store, in order. It is played on a copy, as the
    replays are: that no file is known as verified costs calls.
    """
    root = folder / "store"
    copy_prepared(prepared, root)
    log = folder / "strace.log"
    _watch(name, root, ["-f", "-y", "-e", f"trace={TRACED},{','.join(LOOKING)}", "-o", str(log)], bug)
    return read_points(log, str(root))


def prepare_root(name: str, root: Path) -> None:
    root.mkdir(parents=True)
    prepare(root, SCENARIOS[name])


def copy_prepared(prepared: Path, root: Path) -> None:
    shutil.copytree(prepared, root, symlinks=True)


def _watch(name: str, root: Path, options: list[str], bug: str) -> None:
    done = play(name, root, bug=bug, strace=options)
    if done.code:
        raise AssertionError(f"{name} ended with {done.code}: {done.complaint[-2000:]}")


def _snapshot(root: Path) -> Disk:
    disk = Disk(names={}, directories={str(root)})
    numbers: dict[int, int] = {}
    for name, content in sorted(read_tree(root).items()):
        path = f"{root}/{name}"
        if content is None:
            disk.directories.add(path)
            continue
        found = Path(path).stat()
        inode = numbers.setdefault(found.st_ino, -1 - len(numbers))
        disk.names[path] = inode
        disk.contents[inode] = content
        disk.modes[inode] = found.st_mode & 0o777
    return disk
