"""Disks: how worn they are, and the room where the data is.

eMMC tells its wear in sysfs, in steps of a tenth. An SD card tells nothing, and an NVMe drive tells only who
may send it commands; both are None with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.hardware import system
from appliance.hardware.root import Absent, Reason, Reasons, Root
from appliance.hardware.system import Space

_CLASS: Final = "sys/block"
_SECTOR_BYTES: Final = 512
"""The kernel counts in these whatever the disk's own sector."""
_NO_DISK: Final = re.compile(r"(?:loop|ram|zram|nbd|sr|fd)[0-9]+|dm-[0-9]+|md[0-9]+")
_KINDS: Final = (("mmcblk", "mmc"), ("nvme", "nvme"), ("sd", "scsi"), ("vd", "virtio"), ("xvd", "xen"))
_LIFE: Final = re.compile(r"0x([0-9a-fA-F]{1,2}) 0x([0-9a-fA-F]{1,2})")
_WORN_OUT: Final = 0x0B
"""JEDEC 84-B51, DEVICE_LIFE_TIME_EST: 1 is up to 10 % of the life, 10 up to 100 %, 11 past it."""
_END_OF_LIFE: Final = {1: "normal", 2: "warning", 3: "urgent"}
"""PRE_EOL_INFO: spare blocks in use below 80 %, from 80 %, from 90 %."""
_UNTOLD: Final = {
    "nvme": "an NVMe drive tells its wear only to who may send it commands (nvme smart-log)",
    "scsi": "a SATA or USB disk tells its wear only to who may send it commands (smartctl)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk. None: it does not say; `reasons` tells why, by field."""

    name: str
    kind: str
    """mmc | nvme | scsi | virtio | xen | other"""
    model: str | None
    size_bytes: int | None
    life_used: float | None
    """At most so much of the life is used, 0 to 1 in tenths; above 1: past it."""
    end_of_life: str | None
    """normal | warning | urgent: how many spare blocks are left."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One look."""

    disks: tuple[Disk, ...]
    data: Space | None
    """Of the file system of the data directory."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def read(root: Root, data_dir: Path | None = None) -> Storage:
    """Read all disks, and the room in `data_dir`, which is a directory of this machine whatever the root."""
    reasons = Reasons()
    listed = root.names(_CLASS)
    names = () if isinstance(listed, Absent) else listed
    disks = tuple(_disk(root, name) for name in names if not _NO_DISK.fullmatch(name))
    if not disks:
        none = Absent(path=_CLASS, reason="no disk")
        reasons["disks"] = str(listed if isinstance(listed, Absent) else none)
    not_asked = Absent(path="", reason="no data directory was named")
    space = system.space(data_dir) if data_dir is not None else not_asked
    return Storage(disks=disks, data=reasons.known("data", space), reasons=reasons)


def parse_life(text: str) -> float | None:
    """`0x01 0x02`, of the two kinds of cells: the worse one counts. None: 0, "not told", or no such text."""
    match = _LIFE.fullmatch(text.strip())
    worst = max(int(match[1], 16), int(match[2], 16)) if match else 0
    return worst / 10 if 0 < worst <= _WORN_OUT else None


def _disk(root: Root, name: str) -> Disk:
    path = f"{_CLASS}/{name}"
    kind = next((kind for start, kind in _KINDS if name.startswith(start)), "other")
    reasons = Reasons()
    model = root.text(f"{path}/device/name" if kind == "mmc" else f"{path}/device/model")
    sectors = root.integer(f"{path}/size")
    return Disk(
        name=name,
        kind=kind,
        model=reasons.known("model", model),
        size_bytes=reasons.known(
            "size_bytes", sectors * _SECTOR_BYTES if isinstance(sectors, int) and sectors >= 0 else sectors
        ),
        life_used=reasons.known("life_used", _life(root, path, kind)),
        end_of_life=reasons.known("end_of_life", _end_of_life(root, path, kind)),
        reasons=reasons,
    )


def _life(root: Root, path: str, kind: str) -> float | Absent:
    if kind != "mmc":
        return Absent(path="", reason=_UNTOLD.get(kind, "this kind of disk tells no wear"))
    text = root.text(f"{path}/device/life_time")
    if isinstance(text, Absent):
        return _sd_card(text)
    life = parse_life(text)
    return life if life is not None else Absent(path=f"{path}/device/life_time", reason="tells no wear")


def _end_of_life(root: Root, path: str, kind: str) -> str | Absent:
    if kind != "mmc":
        return Absent(path="", reason=_UNTOLD.get(kind, "this kind of disk tells no wear"))
    text = root.text(f"{path}/device/pre_eol_info")
    if isinstance(text, Absent):
        return _sd_card(text)
    digits = re.fullmatch(r"0x([0-9a-fA-F]{1,2})", text)
    state = _END_OF_LIFE.get(int(digits[1], 16)) if digits else None
    return state or Absent(path=f"{path}/device/pre_eol_info", reason="tells no wear")


def _sd_card(absent: Absent) -> Absent:
    if absent.reason != Reason.NOT_THERE:
        return absent
    return Absent(path=absent.path, reason="not there (an SD card tells no wear)")
