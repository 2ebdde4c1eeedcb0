"""On what a measurement holds: the chip, and the code that computed. With others it says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.hardware.chip import Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where we stand now."""

    chip: Chip
    build: str
    """llama.cpp's build and our kernels', and whether ours are in use."""
    own_kernels: bool = False
    """Ours are there for this chip, and wanted."""
