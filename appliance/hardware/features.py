"""What the processor can, by the names under which ggml asks for it (`gguf/layouts.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_NAMES: Final = {
    "avx2": ("avx2",),
    "avx512": ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"),
    "amx_int8": ("amx_int8",),
    "neon": ("asimd",),
    "dotprod": ("asimddp",),
    "matmul_int8": ("i8mm",),
    "vxe": ("vxe",),
}
"""ggml's name, and all the kernel's names that it takes."""
_LINES: Final = ("flags", "Features", "features")


def read_features(sysroot: Path = Path("/")) -> frozenset[str]:
    """Of the first processor; none where the kernel does not say."""
    try:
        text = (sysroot / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return parse_features(text)


def parse_features(cpuinfo: str) -> frozenset[str]:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in _LINES:
            words = set(value.split())
            return frozenset(ours for ours, theirs in _NAMES.items() if words.issuperset(theirs))
    return frozenset()
