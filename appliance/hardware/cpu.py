"""Processors of the board: how many big cores this process may use, and who else keeps them busy.

Parsers are pure; `read` and `read_times` take the root of a (perhaps fake) file tree. Threads belong on big
cores only: a barrier waits for the slowest, so one little core slows all of them (RK3588: 4 of 8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.hardware import cgroup
from appliance.hardware.root import MOST_BYTES, Absent, Root, whole

CPU_DIR: Final = "sys/devices/system/cpu"
_BIG_SHARE: Final = 0.75
"""A core of at least this share of the greatest capacity is big (RK3588: little cores have about 0.4)."""
_IDLE_COLUMNS: Final = (3, 4)
"""`idle` and `iowait` in a line of /proc/stat, counted after the name (proc(5))."""
_STAT_BYTES: Final = 1024 * 1024
"""Of /proc/stat: a line for each core, and one word for each interrupt."""
_MOST_CORES: Final = 4096
"""No kernel is built for more (x86: 8192 with all debugging on); a longer list is garbage."""
_TICK_COLUMNS: Final = 8
"""user nice system idle iowait irq softirq steal; `guest` that follows is already in `user`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One logical processor."""

    index: int
    capacity: int | None
    """The scheduler's relative capacity, 1024 for the greatest; None: unknown (all are alike)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFacts:
    """What this process may compute on. Changes only with its affinity mask or its cgroup."""

    cores: tuple[Core, ...]
    """Those in the affinity mask, by index."""
    quota_cores: float | None
    """Cores' worth of time that the cgroups allow; None: no bound."""

    @property
    def big_cores(self) -> tuple[int, ...]:
        """Indices of the usable cores of at least three quarters of the greatest capacity."""
        known = [core.capacity for core in self.cores if core.capacity is not None]
        if len(known) < len(self.cores):
            return tuple(core.index for core in self.cores)
        bound = _BIG_SHARE * max(known, default=0)
        return tuple(
            core.index for core in self.cores if core.capacity is not None and core.capacity >= bound
        )

    @property
    def usable_big_cores(self) -> int:
        """How many threads can truly run at once on big cores: at least 1, at most the quota allows."""
        count = len(self.big_cores)
        if self.quota_cores is not None:
            count = min(count, int(self.quota_cores))
        return max(count, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTimes:
    """Clock ticks of one core since boot."""

    busy_ticks: int
    """All but idle and waiting for I/O; time stolen by the hypervisor counts as busy."""
    total_ticks: int


def read(sysroot: Path | Root = Path("/")) -> CpuFacts:
    """Read cores, capacities, affinity and cgroup quota of this process. What is absent is unknown."""
    root = Root.of(sysroot)
    allowed = parse_cpus_allowed(_text(root, "proc/self/status"))
    online = parse_cpu_list(_text(root, f"{CPU_DIR}/online"))
    usable = online & allowed if allowed and online else online or allowed
    cores = tuple(Core(index=index, capacity=read_capacity(root, index)) for index in sorted(usable))
    return CpuFacts(cores=cores, quota_cores=read_quota(root))


def read_capacity(root: Root, index: int) -> int | None:
    """The scheduler's capacity of one core; x86 has none."""
    capacity = root.integer(f"{CPU_DIR}/cpu{index}/cpu_capacity")
    return capacity if isinstance(capacity, int) and capacity >= 0 else None


def read_quota(sysroot: Path | Root = Path("/")) -> float | None:
    """The tightest CPU bound over this process's cgroup and its parents, v2 and v1, in cores."""
    root = Root.of(sysroot)
    quotas: list[float] = []
    for controllers, path in cgroup.parse(_text(root, "proc/self/cgroup")):
        for level in cgroup.levels(path):
            if not controllers:
                quota = parse_cpu_max(_text(root, cgroup.joined(cgroup.TOP, level, "cpu.max")))
            elif "cpu" in controllers.split(","):
                quota = _v1_quota(root, controllers, level)
            else:
                break
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def read_times(sysroot: Path | Root = Path("/")) -> dict[int, CoreTimes]:
    """Ticks of every core now; empty when the kernel does not say."""
    return parse_stat(_stat(sysroot))


def read_others_running(sysroot: Path | Root = Path("/")) -> int | None:
    """Threads of the whole machine that compute or could just now, the asking one left out; None: the kernel
    does not say.
    """
    running = parse_running(_stat(sysroot))
    return max(0, running - 1) if running is not None else None


def read_own_ticks(sysroot: Path | Root = Path("/")) -> int | None:
    """Ticks that this process has computed so far, all threads; None: the kernel does not say."""
    return parse_process_ticks(_text(Root.of(sysroot), "proc/self/stat"))


def busy_fraction(
    before: Mapping[int, CoreTimes], after: Mapping[int, CoreTimes], cores: Iterable[int]
) -> float | None:
    """Share of the time between two readings in which `cores` were busy, 0 to 1; None: no tick passed."""
    known = [core for core in cores if core in before and core in after]
    total = sum(after[core].total_ticks - before[core].total_ticks for core in known)
    busy = sum(after[core].busy_ticks - before[core].busy_ticks for core in known)
    return min(max(busy / total, 0.0), 1.0) if total > 0 else None


def parse_cpu_list(text: str) -> frozenset[int]:
    """Parse the kernel's list form: `0-3,8` is {0, 1, 2, 3, 8}."""
    found: set[int] = set()
    for part in text.strip().split(","):
        if match := re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip()):
            first = int(match[1])
            found.update(range(first, min(int(match[2] or first) + 1, _MOST_CORES)))
    return frozenset(found)


def parse_cpus_allowed(text: str) -> frozenset[int]:
    """The affinity mask in /proc/PID/status; empty when it is not there."""
    match = re.search(r"^Cpus_allowed_list:\s*(\S+)$", text, re.MULTILINE)
    return parse_cpu_list(match[1]) if match else frozenset()


def parse_cpu_max(text: str) -> float | None:
    """Version 2 has `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD`."""
    words = text.split()
    return _cores(words[0], words[1]) if len(words) == 2 else None


def parse_stat(text: str) -> dict[int, CoreTimes]:
    """Parse the `cpuN` lines of /proc/stat."""
    times: dict[int, CoreTimes] = {}
    for line in text.splitlines():
        match = re.match(r"cpu([0-9]{1,4}) ((?:[0-9]{1,19} ?)+)", line)
        ticks = [int(word) for word in match[2].split()[:_TICK_COLUMNS]] if match else []
        if match is None or len(ticks) <= max(_IDLE_COLUMNS):
            continue
        idle = sum(ticks[column] for column in _IDLE_COLUMNS)
        times[int(match[1])] = CoreTimes(busy_ticks=sum(ticks) - idle, total_ticks=sum(ticks))
    return times


def parse_running(text: str) -> int | None:
    """`procs_running` of /proc/stat: runnable threads, the reader among them."""
    match = re.search(r"^procs_running ([0-9]{1,19})$", text, re.MULTILINE)
    return int(match[1]) if match else None


def parse_process_ticks(text: str) -> int | None:
    """Sum of utime and stime in /proc/PID/stat: fields 14 and 15, counted behind the name in brackets."""
    fields = text.rpartition(")")[2].split()
    user, system = (whole(fields[11]), whole(fields[12])) if len(fields) > 12 else (None, None)
    return user + system if user is not None and system is not None else None


def _v1_quota(root: Root, controllers: str, level: str) -> float | None:
    for mount in (controllers, "cpu"):
        group = cgroup.joined(cgroup.TOP, mount, level)
        quota = _text(root, f"{group}/cpu.cfs_quota_us")
        if quota:
            return _cores(quota, _text(root, f"{group}/cpu.cfs_period_us"))
    return None


def _cores(quota: str, period: str) -> float | None:
    """`max` (v2) and -1 (v1) mean no bound."""
    most, per = whole(quota), whole(period)
    return most / per if most is not None and per is not None and most >= 0 and per > 0 else None


def _stat(sysroot: Path | Root) -> str:
    return _text(Root.of(sysroot), "proc/stat", most_bytes=_STAT_BYTES)


def _text(root: Root, path: str, *, most_bytes: int = MOST_BYTES) -> str:
    text = root.text(path, most_bytes=most_bytes)
    return "" if isinstance(text, Absent) else text
