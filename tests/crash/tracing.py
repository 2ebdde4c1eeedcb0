"""Runs a scenario under strace: watched, killed at a system call, or with errors from one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.crash.disk_model import Disk
from tests.crash.judge import read_tree
from tests.crash.scenarios import SCENARIOS, prepare
from tests.crash.strace_log import MAX_STRING, TRACED, Operation, Reader

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Trace:
    root: str
    start: Disk
    operations: list[Operation]


def trace(name: str, folder: Path, *, bug: str = "") -> Trace:
    """What a scenario does to the disk."""
    root = folder / "store"
    prepare_root(name, root)
    reader, start = Reader(root=str(root)), _snapshot(root)
    reader.start_with(start.names)
    log = folder / "strace.log"
    done = _strace(
        ["-f", "-y", "-xx", "-s", str(MAX_STRING), "-e", f"trace={TRACED}", "-o", str(log)], name, root, bug
    )
    if done.returncode:
        raise AssertionError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    operations = reader.read(log)
    for path, inode in reader.outside.items():
        start.names[path] = inode
        start.contents[inode] = Path(path).read_bytes()
    return Trace(str(root), start, operations)


def prepare_root(name: str, root: Path) -> None:
    root.mkdir(parents=True)
    prepare(root, SCENARIOS[name])


def play_with(injection: str, name: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Play with strace's `inject=`: a signal or an error at one call."""
    return _strace(["-f", "-qq", "-o", "/dev/null", "-P", str(root), "-e", injection], name, root, "")


def _strace(options: list[str], name: str, root: Path, bug: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["strace", *options, sys.executable, "-m", "tests.crash.play", name, str(root), bug],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _snapshot(root: Path) -> Disk:
    disk = Disk(names={}, directories={str(root)})
    for number, (name, content) in enumerate(sorted(read_tree(root).items()), start=1):
        path = f"{root}/{name}"
        if content is None:
            disk.directories.add(path)
        else:
            disk.names[path] = -number
            disk.contents[-number] = content
    return disk
