"""Chips of /sys/class/hwmon, found by their name: hwmonN has another number after each boot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from appliance.hardware.root import Absent, Root

CLASS: Final = "sys/class/hwmon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One chip and where its attributes are."""

    name: str
    path: str


def chips(root: Root, *, names: Collection[str] | None = None) -> tuple[Chip, ...]:
    """The chips of these names, all without `names`; a chip whose name cannot be read is left out."""
    listed = root.names(CLASS)
    found = []
    for entry in () if isinstance(listed, Absent) else listed:
        name = root.text(f"{CLASS}/{entry}/name")
        if isinstance(name, str) and (names is None or name in names):
            found.append(Chip(name=name, path=f"{CLASS}/{entry}"))
    return tuple(found)
