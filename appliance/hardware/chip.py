"""The processor by name and instructions, as far as they decide which layouts of weights are fast.

`parse` is pure; `read` takes the root of a (perhaps fake) file tree.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DECISIVE: Final = frozenset(
    {
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni"),
        *("avx512_bf16", "avx512_vbmi", "amx_int8", "amx_tile"),
        *("asimd", "asimddp", "asimdhp", "i8mm", "sve", "sve2", "sme", "bf16"),
    }
)
"""Instructions by which llama.cpp and our kernels choose their code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    architecture: str
    """As `uname -m` has it: x86_64, aarch64."""
    name: str
    """For people; empty where the kernel has none."""
    features: frozenset[str]
    """As the kernel lists them: `flags` on x86, `Features` on ARM."""
    cores: int
    """Logical processors that are online."""

    @property
    def mark(self) -> str:
        """Two boards with one mark compute alike."""
        decisive = " ".join(sorted(self.features & _DECISIVE))
        return f"{self.architecture} {self.name or 'of unknown make'}, {self.cores} cores ({decisive})"


def read(sysroot: Path = Path("/")) -> Chip:
    """A tree without /proc/cpuinfo reads as a chip of no features."""
    try:
        text = (sysroot / "proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    return parse(text, architecture=platform.machine())


def parse(text: str, *, architecture: str) -> Chip:
    """Parse /proc/cpuinfo. Features are those that all cores have: a thread may run on any."""
    features = [set(found.split()) for found in _values(text, "flags|Features")]
    names = list(dict.fromkeys(_values(text, "model name"))) or _arm_names(text)
    return Chip(
        architecture=architecture,
        name=" + ".join(names),
        features=frozenset(set.intersection(*features)) if features else frozenset(),
        cores=len(_values(text, "processor")),
    )


def _arm_names(text: str) -> list[str]:
    """`implementer 0x41 part 0xd08`: the kernel knows the cores by numbers; big and little ones differ."""
    pairs = zip(_values(text, "CPU implementer"), _values(text, "CPU part"), strict=False)
    return list(dict.fromkeys(f"implementer {implementer} part {part}" for implementer, part in pairs))


def _values(text: str, key: str) -> list[str]:
    return [found.strip() for found in re.findall(rf"^(?:{key})[ \t]*:(.*)$", text, re.MULTILINE)]
