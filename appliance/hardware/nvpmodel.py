"""The power mode of a Jetson, from nvpmodel's own files: the program itself is not run.

A mode takes cores off line and bounds the clocks of GPU and memory, so a plan made in one mode is wrong in
another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware.root import Absent, Reasons, Root

_CONFIGURATION: Final = "etc/nvpmodel.conf"
_STATUS: Final = "var/lib/nvpmodel/status"
_CONFIGURATION_BYTES: Final = 512 * 1024
_MODEL: Final = re.compile(r"<\s*POWER_MODEL\s+ID=([0-9]{1,4})\s+NAME=([^\s>]{1,64})\s*>")
_DEFAULT: Final = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=([0-9]{1,4})\s*>")
_MODE: Final = re.compile(r"\bpmode:([0-9]{1,4})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMode:
    """One mode of the configuration."""

    number: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NvpModel:
    """One look. None: unknown; `reasons` tells why, by field."""

    mode: PowerMode | None
    modes: tuple[PowerMode, ...]
    default_number: int | None
    reasons: Mapping[str, str] = field(default_factory=dict)


def read(root: Root) -> NvpModel:
    """Read the configuration and the mode that was set last."""
    reasons = Reasons()
    text = root.text(_CONFIGURATION, most_bytes=_CONFIGURATION_BYTES)
    modes = () if isinstance(text, Absent) else parse_modes(text)
    default = None if isinstance(text, Absent) else _DEFAULT.search(text)
    no_default = text if isinstance(text, Absent) else Absent(path=_CONFIGURATION, reason="no default")
    return NvpModel(
        mode=reasons.known("mode", _mode(root, modes, text)),
        modes=modes,
        default_number=reasons.known("default_number", int(default[1]) if default else no_default),
        reasons=reasons,
    )


def parse_modes(text: str) -> tuple[PowerMode, ...]:
    """`< POWER_MODEL ID=0 NAME=15W >` begins each mode."""
    found = {int(match[1]): match[2] for match in _MODEL.finditer(text)}
    return tuple(PowerMode(number=number, name=name) for number, name in sorted(found.items()))


def _mode(root: Root, modes: tuple[PowerMode, ...], configuration: str | Absent) -> PowerMode | Absent:
    """The status is `pmode:0002 fmode:fan_mode_quiet`."""
    status = root.text(_STATUS)
    if isinstance(status, Absent):
        return status
    match = _MODE.search(status)
    if match is None:
        return Absent(path=_STATUS, reason="tells no mode")
    number = int(match[1])
    known = next((mode for mode in modes if mode.number == number), None)
    if known is None and isinstance(configuration, Absent):
        return configuration
    return known or Absent(path=_CONFIGURATION, reason=f"has no mode {number}")
