"""Memory of the board as the kernel counts it.

Parsers are pure; `read` takes the root of a (perhaps fake) file tree. `memory` has more, and costs more.

`available_bytes`, not `free_bytes`, is what a plan may use: free memory leaves out the page cache that the
kernel gives back on demand, and on unified-memory boards the GPU's share is the very same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.hardware.root import Absent, Root, whole

PATH: Final = "proc/meminfo"
_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """One look at /proc/meminfo. None: the kernel does not say."""

    total_bytes: int | None
    available_bytes: int | None
    free_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None


def read(sysroot: Path | Root = Path("/")) -> MemoryReading:
    """Read the board's memory. A tree without /proc/meminfo reads as all unknown."""
    text = Root.of(sysroot).text(PATH)
    return parse("" if isinstance(text, Absent) else text)


def parse(text: str) -> MemoryReading:
    """Parse /proc/meminfo."""
    found = sizes(text)
    return MemoryReading(
        total_bytes=found.get("MemTotal"),
        available_bytes=found.get("MemAvailable"),
        free_bytes=found.get("MemFree"),
        swap_total_bytes=found.get("SwapTotal"),
        swap_free_bytes=found.get("SwapFree"),
    )


def sizes(text: str) -> dict[str, int]:
    """Name and bytes of every line `Name:  12345 kB`, where kB are KiB (proc(5)); other lines
    (`HugePages_Total: 0`) are left out.
    """
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        kib = whole(words[0]) if len(words) == 2 and words[1] == "kB" else None
        if kib is not None and kib >= 0:
            found[name] = kib * _KIB
    return found
