"""The door to psutil: processes and file systems of this machine, never of a simulated board.

Temperatures are not asked of it: its paths are fixed, it leaves out passive trips, and it skips a sensor that
fails without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from appliance.hardware.root import Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Of one file system, as a user who is not root can use it."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process and the memory it holds."""

    pid: int
    name: str
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFigures:
    """Of this process."""

    cpu_s: float
    """User and system time, all threads, since its start."""
    resident_bytes: int
    threads: int
    open_files: int
    started_s: float
    """Seconds since 1970."""


class OwnProcess:
    """This process, asked again and again. Any thread."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def figures(self) -> OwnFigures:
        with self._process.oneshot():
            times = self._process.cpu_times()
            return OwnFigures(
                cpu_s=times.user + times.system,
                resident_bytes=self._process.memory_info().rss,
                threads=self._process.num_threads(),
                open_files=self._process.num_fds(),
                started_s=self._process.create_time(),
            )


def space(directory: Path) -> Space | Absent:
    """Room on the file system of `directory`, which must exist."""
    try:
        usage = psutil.disk_usage(str(directory))
    except OSError as error:
        return Absent(path=str(directory).lstrip("/"), reason=f"{error.strerror or error}")
    return Space(path=str(directory), total_bytes=usage.used + usage.free, free_bytes=usage.free)


def largest_programs(count: int = 5) -> tuple[Program, ...]:
    """Who holds most of the memory, the largest first. Costs about 0.1 ms for each process there is, so it is
    no part of a sample.
    """
    found = []
    for process in psutil.process_iter(["pid", "name", "memory_info"]):
        memory = process.info["memory_info"]  # None: ended, or not ours to see
        if memory is not None and memory.rss > 0:
            name = process.info["name"] or "?"
            found.append(Program(pid=process.info["pid"], name=name, resident_bytes=memory.rss))
    return tuple(sorted(found, key=lambda program: (-program.resident_bytes, program.pid))[:count])
