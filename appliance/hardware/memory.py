"""All that is known of the board's memory in one reading: the kernel's count, this process's bound, pressure,
swap, and what a Jetson's GPU has mapped.

What a plan may use is `budget_bytes`. Swap is never part of it: it can take other programs' pages, but not a
GPU's buffers, and a model that swaps is slower than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware import cgroup, meminfo, pressure
from appliance.hardware.cgroup import MemoryLimit
from appliance.hardware.pressure import Pressure
from appliance.hardware.root import Absent, Reasons, Root, whole

_SWAPS: Final = "proc/swaps"
_KIB: Final = 1024
_UNBOUNDED: Final = Absent(path="", reason="no cgroup bounds the memory of this process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One place that pages are moved to."""

    name: str
    is_compressed_memory: bool
    """zram: it takes memory to save memory."""
    size_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One look. None: the kernel does not say; `reasons` tells why, by field."""

    total_bytes: int | None
    available_bytes: int | None
    """What a new program can have without swapping."""
    free_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    contiguous_free_bytes: int | None
    """CMA: counted as available, but not to be had by everybody."""
    gpu_used_bytes: int | None
    """NvMap: what the GPU of a Jetson with an old release has mapped, out of the same memory."""
    limit: MemoryLimit | None
    """Of this process's cgroups; None: no bound."""
    pressure: Pressure | None
    swaps: tuple[Swap, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def budget_bytes(self) -> int | None:
        """What this process can have now; None: the kernel does not say what is available."""
        if self.available_bytes is None:
            return None
        return (
            self.available_bytes if self.limit is None else min(self.available_bytes, self.limit.room_bytes)
        )


def read(root: Root) -> Memory:
    """Read it all: six small files, more in a deep cgroup."""
    text = root.text(meminfo.PATH)
    sizes = {} if isinstance(text, Absent) else meminfo.sizes(text)
    absent = text if isinstance(text, Absent) else Absent(path=meminfo.PATH, reason="has no such line")
    reasons = Reasons()
    return Memory(
        total_bytes=reasons.known("total_bytes", sizes.get("MemTotal", absent)),
        available_bytes=reasons.known("available_bytes", sizes.get("MemAvailable", absent)),
        free_bytes=reasons.known("free_bytes", sizes.get("MemFree", absent)),
        swap_total_bytes=reasons.known("swap_total_bytes", sizes.get("SwapTotal", absent)),
        swap_free_bytes=reasons.known("swap_free_bytes", sizes.get("SwapFree", absent)),
        contiguous_free_bytes=reasons.known("contiguous_free_bytes", sizes.get("CmaFree", absent)),
        gpu_used_bytes=reasons.known("gpu_used_bytes", sizes.get("NvMapMemUsed", absent)),
        limit=reasons.known("limit", cgroup.read_memory_limit(root) or _UNBOUNDED),
        pressure=reasons.known("pressure", pressure.read(root)),
        swaps=read_swaps(root),
        reasons=reasons,
    )


def read_swaps(root: Root) -> tuple[Swap, ...]:
    """All swaps in use, by name."""
    text = root.text(_SWAPS)
    return () if isinstance(text, Absent) else parse_swaps(text)


def parse_swaps(text: str) -> tuple[Swap, ...]:
    r"""A heading, then `NAME TYPE SIZE USED PRIORITY` with sizes in KiB; a name's spaces are `\\040`."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        size, used = (whole(words[2]), whole(words[3])) if len(words) == 5 else (None, None)
        if size is None or used is None or size < 0 or used < 0:
            continue
        found.append(
            Swap(
                name=words[0],
                is_compressed_memory=words[0].rsplit("/", 1)[-1].startswith("zram"),
                size_bytes=size * _KIB,
                used_bytes=used * _KIB,
            )
        )
    return tuple(sorted(found, key=lambda swap: swap.name))
