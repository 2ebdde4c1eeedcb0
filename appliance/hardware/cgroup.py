"""The cgroups of this process, versions 1 and 2: where their files are, and how much memory they allow.

In a container the path in /proc/self/cgroup may be the host's while /sys/fs/cgroup shows only the container's
part: levels that are not there are passed over, and the top is always looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.hardware.root import Absent, Root, whole

TOP: Final = "sys/fs/cgroup"
_NO_LIMIT: Final = 1 << 62
"""Version 1 says "no limit" with the greatest number of pages there is: 2**63 less a page of any size."""
_CACHE_V2: Final = ("inactive_file", "active_file")
_CACHE_V1: Final = ("total_inactive_file", "total_active_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """The tightest bound above this process: the one with the least room left."""

    limit_bytes: int
    used_bytes: int | None
    """All that the group is charged with, page cache too. What a GPU of Tegra maps is never charged."""
    cache_bytes: int | None
    """Of these, what the kernel takes back before it kills."""

    @property
    def room_bytes(self) -> int:
        """What may still be taken; the whole limit where the use is unknown."""
        used = (self.used_bytes or 0) - (self.cache_bytes or 0)
        return max(self.limit_bytes - max(used, 0), 0)


def parse(text: str) -> list[tuple[str, str]]:
    """Controllers ("" for v2) and path of every line of /proc/PID/cgroup, `ID:CONTROLLERS:PATH`."""
    split = [line.split(":", 2) for line in text.splitlines()]
    return [(parts[1], parts[2]) for parts in split if len(parts) == 3]


def levels(path: str) -> list[str]:
    """`/a/b` gives `a/b`, `a` and the root itself."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        parts = []
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def read_memory_limit(root: Root) -> MemoryLimit | None:
    """None: no cgroup bounds the memory of this process, or the kernel does not say."""
    text = root.text("proc/self/cgroup")
    found = []
    for controllers, path in parse(text) if isinstance(text, str) else ():
        for level in levels(path):
            if not controllers:
                limit = _version_2(root, joined(TOP, level))
            elif "memory" in controllers.split(","):
                limit = _version_1(root, joined(TOP, "memory", level))
            else:
                break
            if limit is not None:
                found.append(limit)
    return min(found, key=lambda limit: (limit.room_bytes, limit.limit_bytes), default=None)


def _version_2(root: Root, group: str) -> MemoryLimit | None:
    """`memory.max` is `max` or bytes; the root has none."""
    limit = root.text(f"{group}/memory.max")
    number = whole(limit) if isinstance(limit, str) else None
    return _limit(root, group, number, used="memory.current", cache=_CACHE_V2)


def _version_1(root: Root, group: str) -> MemoryLimit | None:
    limit = root.integer(f"{group}/memory.limit_in_bytes")
    number = limit if isinstance(limit, int) else None
    return _limit(root, group, number, used="memory.usage_in_bytes", cache=_CACHE_V1)


def _limit(
    root: Root, group: str, number: int | None, *, used: str, cache: tuple[str, ...]
) -> MemoryLimit | None:
    if number is None or not 0 <= number < _NO_LIMIT:
        return None
    taken = root.integer(f"{group}/{used}")
    return MemoryLimit(
        limit_bytes=number,
        used_bytes=taken if isinstance(taken, int) else None,
        cache_bytes=_statistic(root, f"{group}/memory.stat", cache),
    )


def _statistic(root: Root, path: str, names: tuple[str, ...]) -> int | None:
    """Sum of the named lines of memory.stat."""
    text = root.text(path)
    if isinstance(text, Absent):
        return None
    values = [
        int(match[1])
        for name in names
        if (match := re.search(rf"^{name} ([0-9]{{1,19}})$", text, re.MULTILINE))
    ]
    return sum(values) if values else None
