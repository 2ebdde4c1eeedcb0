"""A bound on the memory of a daemon and all its children, as small boards have: a cgroup of the kernel's.

Where this user may make none, the board is simulated: /proc/meminfo of a fake root follows what the processes
hold, and a test hears of every moment in which they held more than there is.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

_TOP = Path("/sys/fs/cgroup")
_EVERY_S = 0.02


class MemoryBound(Protocol):
    limit_bytes: int
    sysroot: Path
    """What the daemon is to take for the machine's files."""

    @property
    def command(self) -> list[str]:
        """What stands in front of the daemon's command."""

    def started(self, pid: int) -> None:
        """Called with the daemon's pid when it runs."""

    def held_bytes(self) -> int:
        """What the daemon and its children hold now, without pages of files."""

    def oom_kills(self) -> int:
        """How often more was held than there is."""


@dataclass(kw_only=True)
class CgroupBound:
    limit_bytes: int
    path: Path
    is_v2: bool
    sysroot: Path = Path("/")

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs")]

    def started(self, pid: int) -> None:
        """It has entered by itself."""

    def held_bytes(self) -> int:
        lines = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return int(lines["anon" if self.is_v2 else "total_rss"])

    def oom_kills(self) -> int:
        name = "memory.events" if self.is_v2 else "memory.oom_control"
        lines = dict(line.split() for line in (self.path / name).read_text().splitlines())
        return int(lines["oom_kill"])


@dataclass(kw_only=True)
class SimulatedBound:
    limit_bytes: int
    sysroot: Path
    kills: int = 0
    held: int = 0
    others_bytes: int = 0
    """What other programs hold; a test may change it."""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def command(self) -> list[str]:
        return []

    def started(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._follow, args=(pid,), name="simulated-memory")
        self._thread.start()

    def held_bytes(self) -> int:
        return self.held

    def oom_kills(self) -> int:
        return self.kills

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def tell(self, held_bytes: int) -> None:
        total, free = self.limit_bytes // 1024, max(0, self.limit_bytes - held_bytes) // 1024
        aside = self.sysroot / "proc/meminfo.new"
        aside.write_text(f"MemTotal: {total} kB\nMemFree: {free} kB\nMemAvailable: {free} kB\n")
        aside.rename(self.sysroot / "proc/meminfo")

    def _follow(self, pid: int) -> None:
        while not self._over.wait(_EVERY_S):
            held = self.others_bytes + sum(_anonymous_bytes(process) for process in _family(pid))
            self.held = held
            self.kills += held > self.limit_bytes
            self.tell(held)


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _anonymous_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return 0


@contextlib.contextmanager
def memory_bound(limit_bytes: int, directory: Path) -> Iterator[MemoryBound]:
    """`directory`: an empty one, for a simulated board."""
    group = _cgroup(limit_bytes)
    if group is not None:
        try:
            yield group
        finally:
            _remove(group.path)
        return
    (directory / "proc").mkdir(parents=True)
    simulated = SimulatedBound(limit_bytes=limit_bytes, sysroot=directory)
    simulated.tell(0)
    try:
        yield simulated
    finally:
        simulated.close()


def _cgroup(limit_bytes: int) -> CgroupBound | None:
    is_v2 = "memory" in _controllers(_TOP / "cgroup.controllers")
    path = (_TOP if is_v2 else _TOP / "memory") / f"outpost-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        path.mkdir()
    except OSError:
        return None
    try:
        (path / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        with contextlib.suppress(OSError):  # where there is no swap accounting
            (path / ("memory.swap.max" if is_v2 else "memory.memsw.limit_in_bytes")).write_text(
                "0" if is_v2 else str(limit_bytes)
            )
    except OSError:
        path.rmdir()
        return None
    return CgroupBound(limit_bytes=limit_bytes, path=path, is_v2=is_v2)


def _controllers(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _remove(path: Path) -> None:
    """Its last process may still be on its way out."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.05)
