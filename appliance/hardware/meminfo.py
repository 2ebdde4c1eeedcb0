"""Memory of the board as the kernel counts it.

Parsers are pure; `read` takes the root of a (perhaps fake) file tree.

`available_bytes`, not `free_bytes`, is what a plan may use: free memory leaves out the page cache that the
kernel gives back on demand, and on unified-memory boards the GPU's share is the very same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """One look at /proc/meminfo. None: the kernel does not say."""

    total_bytes: int | None
    available_bytes: int | None
    free_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None


def read(sysroot: Path = Path("/")) -> MemoryReading:
    """Read the board's memory. A tree without /proc/meminfo reads as all unknown."""
    try:
        text = (sysroot / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    return parse(text)


def parse(text: str) -> MemoryReading:
    """Parse /proc/meminfo: `Name:  12345 kB`, where kB are KiB (proc(5))."""
    sizes = dict(_lines(text))
    return MemoryReading(
        total_bytes=sizes.get("MemTotal"),
        available_bytes=sizes.get("MemAvailable"),
        free_bytes=sizes.get("MemFree"),
        swap_total_bytes=sizes.get("SwapTotal"),
        swap_free_bytes=sizes.get("SwapFree"),
    )


def _lines(text: str) -> list[tuple[str, int]]:
    """Name and bytes of every line that has a size in kB; other lines (`HugePages_Total: 0`) are left out."""
    found = []
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found.append((name, int(words[0]) * _KIB))
    return found
