"""The boards that are known by name: what their device tree calls them, and what follows from the chip.

A name of the device tree is that of the module (`nvidia,p3767-0005`), often joined to its carrier's
(`nvidia,p3768-0000+p3767-0005-super`). The model string is not used: it changes with carrier, release and
"Super". docs/hardware.md shows this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """Boards that are read alike."""

    JETSON = "jetson"
    RASPBERRY_PI = "raspberry-pi"
    ROCKCHIP = "rockchip"
    PC = "pc"
    VIRTUAL = "virtual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One kind of board."""

    key: str
    """Names it in files and settings; never changes."""
    name: str
    family: Family


def _board(key: str, name: str, family: Family = Family.JETSON) -> Board:
    return Board(key=key, name=name, family=family)


_ORIN_NANO_8: Final = _board("orin-nano-8g", "Jetson Orin Nano 8 GB")
_XAVIER_NX: Final = _board("xavier-nx", "Jetson Xavier NX")
_NANO: Final = _board("nano", "Jetson Nano")
_AGX_ORIN_32: Final = _board("agx-orin-32g", "Jetson AGX Orin 32 GB")
_PI: Final = Family.RASPBERRY_PI
_RK: Final = Family.ROCKCHIP

MODULES: Final[dict[str, Board]] = {
    "nvidia,p3767-0000": _board("orin-nx-16g", "Jetson Orin NX 16 GB"),
    "nvidia,p3767-0001": _board("orin-nx-8g", "Jetson Orin NX 8 GB"),
    "nvidia,p3767-0003": _ORIN_NANO_8,
    "nvidia,p3767-0004": _board("orin-nano-4g", "Jetson Orin Nano 4 GB"),
    "nvidia,p3767-0005": _ORIN_NANO_8,
    "nvidia,p3701-0000": _AGX_ORIN_32,
    "nvidia,p3701-0004": _AGX_ORIN_32,
    "nvidia,p3701-0005": _board("agx-orin-64g", "Jetson AGX Orin 64 GB"),
    "nvidia,p3834-0000": _board("thor-t4000", "Jetson Thor T4000"),
    "nvidia,p3834-0008": _board("thor-t5000", "Jetson Thor T5000"),
    "nvidia,p3668-0000": _XAVIER_NX,
    "nvidia,p3668-0001": _XAVIER_NX,
    "nvidia,p3668-0003": _board("xavier-nx-16g", "Jetson Xavier NX 16 GB"),
    "nvidia,p3448-0000": _NANO,
    "nvidia,p3448-0002": _NANO,
    "nvidia,p3450-0000": _NANO,
    "nvidia,jetson-nano": _NANO,
    "raspberrypi,3-model-b": _board("pi-3", "Raspberry Pi 3", _PI),
    "raspberrypi,3-model-b-plus": _board("pi-3", "Raspberry Pi 3", _PI),
    "raspberrypi,4-model-b": _board("pi-4", "Raspberry Pi 4", _PI),
    "raspberrypi,4-compute-module": _board("cm-4", "Raspberry Pi Compute Module 4", _PI),
    "raspberrypi,400": _board("pi-400", "Raspberry Pi 400", _PI),
    "raspberrypi,5-model-b": _board("pi-5", "Raspberry Pi 5", _PI),
    "raspberrypi,5-compute-module": _board("cm-5", "Raspberry Pi Compute Module 5", _PI),
    "raspberrypi,500": _board("pi-500", "Raspberry Pi 500", _PI),
    "xunlong,orangepi-5": _board("orangepi-5", "Orange Pi 5", _RK),
    "xunlong,orangepi-5-plus": _board("orangepi-5-plus", "Orange Pi 5 Plus", _RK),
    "radxa,rock-5a": _board("rock-5a", "Radxa ROCK 5A", _RK),
    "radxa,rock-5b": _board("rock-5b", "Radxa ROCK 5B", _RK),
}

CHIPS: Final[dict[str, Board]] = {
    "nvidia,tegra210": _board("tegra210", "a Jetson with Tegra X1"),
    "nvidia,tegra186": _board("tegra186", "a Jetson TX2"),
    "nvidia,tegra194": _board("tegra194", "a Jetson Xavier"),
    "nvidia,tegra234": _board("tegra234", "a Jetson Orin"),
    "nvidia,tegra264": _board("tegra264", "a Jetson Thor"),
    "brcm,bcm2711": _board("bcm2711", "a Raspberry Pi 4", _PI),
    "brcm,bcm2712": _board("bcm2712", "a Raspberry Pi 5", _PI),
    "rockchip,rk3588": _board("rk3588", "a board with RK3588", _RK),
    "rockchip,rk3588s": _board("rk3588s", "a board with RK3588S", _RK),
}
"""For a module or carrier that is not in the table: what every board with the chip has in common."""

CUDA_ARCHITECTURES: Final = {
    "tegra210": "5.3",
    "tegra186": "6.2",
    "tegra194": "7.2",
    "tegra234": "8.7",
    "tegra264": "11.0",
}

JETPACKS: Final = (
    ((32, 7), "4.6"),
    ((35, 1), "5.0.2"),
    ((35, 2), "5.1"),
    ((35, 3), "5.1.1"),
    ((35, 4), "5.1.2"),
    ((35, 5), "5.1.3"),
    ((35, 6), "5.1.4"),
    ((36, 3), "6.0"),
    ((36, 4), "6.1"),
    ((36, 5), "6.2.2"),
    ((38, 2), "7.0"),
    ((38, 4), "7.1"),
    ((39, 2), "7.2"),
)
"""L4T release and minor number → the first JetPack that had it."""


def identify(compatible: Sequence[str]) -> Board | None:
    """The board of a device tree's `compatible`, else that of its chip; None: neither is known."""
    for name in (part for entry in compatible for part in _modules(entry)):
        if name in MODULES:
            return MODULES[name]
    return next((CHIPS[name] for name in compatible if name in CHIPS), None)


def _modules(entry: str) -> Iterator[str]:
    """`nvidia,p3768-0000+p3767-0005-super` names a carrier and a module."""
    vendor, _, rest = entry.partition(",")
    for part in rest.removesuffix("-super").split("+"):
        yield f"{vendor},{part}"
