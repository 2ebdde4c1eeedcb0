"""Which board this is: by the device tree's `compatible`, else by the DMI tables of a PC, else by the
processor's word that it runs below a hypervisor.

The device tree is read below /sys/firmware/devicetree/base; /proc/device-tree is only a link to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware.boards import CUDA_ARCHITECTURES, JETPACKS, Family, identify
from appliance.hardware.root import Absent, Reasons, Root

_TREE: Final = "sys/firmware/devicetree/base"
_DMI: Final = "sys/class/dmi/id"
_KERNEL: Final = "proc/sys/kernel/osrelease"
_L4T: Final = "etc/nv_tegra_release"
_ONLY_JETSON: Final = Absent(path="", reason="only a Jetson has one")
_CPUINFO: Final = "proc/cpuinfo"
_CPUINFO_BYTES: Final = 4 * 1024 * 1024
_RELEASE: Final = re.compile(r"^# R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3})\.([0-9.]{1,10}),")
_VIRTUAL: Final = re.compile(
    r"qemu|kvm|virtual|vmware|bochs|xen|amazon ec2|google compute engine|firecracker|openstack", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class L4tRelease:
    """NVIDIA's Linux for Tegra: R36.4.3 is JetPack 6.1 or a later one of 6."""

    major: int
    minor: int
    patch: str
    jetpack: str | None
    """The first JetPack with this release and minor number; None: not in the table."""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardIdentity:
    """Facts that hold until the next boot. None: unknown; `reasons` tells why, by field."""

    key: str | None
    """Of `boards`; for a board that is not in its table, that of the chip, `pc` or `virtual`."""
    name: str | None
    family: Family | None
    model: str | None
    """As the firmware calls it; for people only."""
    compatible: tuple[str, ...]
    soc: str | None
    """The chip, without its maker."""
    l4t: L4tRelease | None
    cuda_architecture: str | None
    """What a GPU of Tegra must be compiled for."""
    kernel: str | None
    reasons: Mapping[str, str] = field(default_factory=dict)


def read(root: Root) -> BoardIdentity:
    """Read the board's identity."""
    compatible = root.strings(f"{_TREE}/compatible")
    return _of_pc(root, compatible) if isinstance(compatible, Absent) else _of_tree(root, compatible)


def _of_tree(root: Root, compatible: tuple[str, ...]) -> BoardIdentity:
    reasons = Reasons()
    board = identify(compatible)
    unknown = Absent(path=f"{_TREE}/compatible", reason=f"{', '.join(compatible)[:200]} is in no table")
    model = reasons.known("model", root.strings(f"{_TREE}/model"))
    soc = _chip(compatible)
    is_jetson = board is not None and board.family is Family.JETSON
    return BoardIdentity(
        key=reasons.known("key", board.key if board else unknown),
        name=reasons.known("name", board.name if board else unknown),
        family=reasons.known("family", board.family if board else unknown),
        model=model[0] if model else None,
        compatible=compatible,
        soc=soc,
        l4t=reasons.known("l4t", _l4t(root) if is_jetson else _ONLY_JETSON),
        cuda_architecture=reasons.known("cuda_architecture", CUDA_ARCHITECTURES.get(soc, _ONLY_JETSON)),
        kernel=reasons.known("kernel", root.text(_KERNEL)),
        reasons=reasons,
    )


def _chip(compatible: tuple[str, ...]) -> str:
    """The last name is the chip's, but on R35, which ends with `nvidia,tegra23x`."""
    known = [name for name in CUDA_ARCHITECTURES if f"nvidia,{name}" in compatible]
    return known[0] if known else compatible[-1].rpartition(",")[2]


def _of_pc(root: Root, tree: Absent) -> BoardIdentity:
    """Real or not. A cloud's machine may have no DMI either: then only the processor tells."""
    words = [root.text(f"{_DMI}/{name}") for name in ("sys_vendor", "product_name", "board_name")]
    named = " ".join(dict.fromkeys(word for word in words if isinstance(word, str)))
    virtual = bool(_VIRTUAL.search(named)) or _has_hypervisor(root)
    unknown = Absent(path="", reason=f"{tree}; {words[0]}")
    reasons = Reasons()
    family: Family | Absent = Family.VIRTUAL if virtual else Family.PC if named else unknown
    return BoardIdentity(
        key=reasons.known("key", unknown if isinstance(family, Absent) else str(family)),
        name=reasons.known("name", "a virtual machine" if virtual else named or unknown),
        family=reasons.known("family", family),
        model=reasons.known("model", named or unknown),
        compatible=(),
        soc=reasons.known("soc", tree),
        l4t=reasons.known("l4t", _ONLY_JETSON),
        cuda_architecture=reasons.known("cuda_architecture", _ONLY_JETSON),
        kernel=reasons.known("kernel", root.text(_KERNEL)),
        reasons=reasons,
    )


def parse_release(text: str) -> L4tRelease | None:
    """The first line of /etc/nv_tegra_release: `# R36 (release), REVISION: 4.3, GCID: …`."""
    match = _RELEASE.match(text)
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2])
    return L4tRelease(
        major=major, minor=minor, patch=match[3].rstrip("."), jetpack=dict(JETPACKS).get((major, minor))
    )


def _l4t(root: Root) -> L4tRelease | Absent:
    text = root.text(_L4T)
    if isinstance(text, Absent):
        return text
    return parse_release(text) or Absent(path=_L4T, reason="has not the known form")


def _has_hypervisor(root: Root) -> bool:
    """x86: a flag of the processor."""
    text = root.text(_CPUINFO, most_bytes=_CPUINFO_BYTES)
    match = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE) if isinstance(text, str) else None
    return match is not None and "hypervisor" in match[1].split()
