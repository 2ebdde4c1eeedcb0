"""Fans: what they are told and how fast they turn. Read only: the board's own program drives them.

A Jetson has two chips for one fan, `pwmfan` and `pwm_tach`, the latter with a file of its own making (`rpm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware.hwmon import Chip, chips
from appliance.hardware.root import Absent, Reasons, Root
from appliance.hardware.thermal_zones import CoolingDevice

_FULL: Final = 255
_TACHOMETER: Final = "pwm_tach"
_COOLING: Final = "pwm-fan"
_MOST_RPM: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """One fan. None: the chip does not say; `reasons` tells why, by field."""

    name: str
    """Of its chip, with the channel where that has several."""
    duty: float | None
    """0 to 1: the share of full power it is given."""
    rpm: int | None
    level: int | None
    """Of the kernel's cooling device, for a `pwmfan`."""
    most_level: int | None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_stalled(self) -> bool | None:
        """It has power and does not turn; None: it cannot be told."""
        return None if self.duty is None or self.rpm is None else self.duty > 0 and self.rpm == 0


def read(root: Root, cooling_devices: tuple[CoolingDevice, ...] = ()) -> tuple[Fan, ...]:
    """All fans, by name; `cooling_devices`: of the same moment."""
    all_chips = chips(root)
    tachometer = next((chip for chip in all_chips if chip.name == _TACHOMETER), None)
    fans = []
    for chip in all_chips:
        channels = _channels(root, chip)
        for channel in channels:
            name = chip.name if len(channels) == 1 else f"{chip.name} {channel}"
            fans.append(_fan(root, chip, channel, name=name, tachometer=tachometer, cooling=cooling_devices))
    return tuple(sorted(fans, key=lambda fan: (fan.name, fan.rpm or 0, fan.duty or 0.0)))


def _channels(root: Root, chip: Chip) -> list[int]:
    listed = root.names(chip.path)
    names = frozenset(() if isinstance(listed, Absent) else listed)
    return [channel for channel in range(1, 10) if names & {f"pwm{channel}", f"fan{channel}_input"}]


def _fan(
    root: Root,
    chip: Chip,
    channel: int,
    *,
    name: str,
    tachometer: Chip | None,
    cooling: tuple[CoolingDevice, ...],
) -> Fan:
    reasons = Reasons()
    speed = f"{chip.path}/fan{channel}_input"
    if chip.name == "pwmfan" and tachometer is not None and not root.has(speed):
        speed = f"{tachometer.path}/rpm"
    device = next((device for device in cooling if device.kind == _COOLING), None)
    is_cooling = device is not None and chip.name == "pwmfan"
    no_level = Absent(path="", reason="no cooling device of the kernel belongs to it")
    level, most = (device.state, device.max_state) if device is not None and is_cooling else (None, None)
    return Fan(
        name=name,
        duty=reasons.known("duty", _duty(root, f"{chip.path}/pwm{channel}")),
        rpm=reasons.known("rpm", _rpm(root, speed)),
        level=reasons.known("level", no_level if level is None else level),
        most_level=reasons.known("most_level", no_level if most is None else most),
        reasons=reasons,
    )


def _duty(root: Root, path: str) -> float | Absent:
    value = root.integer(path)
    if isinstance(value, Absent):
        return value
    wrong = Absent(path=path, reason=f"{value} is not within 0 to {_FULL}")
    return round(value / _FULL, 3) if 0 <= value <= _FULL else wrong


def _rpm(root: Root, path: str) -> int | Absent:
    value = root.integer(path)
    if isinstance(value, Absent) or 0 <= value <= _MOST_RPM:
        return value
    return Absent(path=path, reason=f"{value} is no speed of a fan")
