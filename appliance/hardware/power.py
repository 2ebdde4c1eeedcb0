"""What a board draws, and whether its supply or its firmware holds it back.

Four sources, none of which every board has: rails (`rails`), the energy counter of a PC's processor (RAPL),
the throttle word of a Raspberry Pi's firmware, and its under-voltage alarm. A value nobody measures is None
with its reason; a power is never an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware import rails
from appliance.hardware.hwmon import chips
from appliance.hardware.rails import Rail
from appliance.hardware.root import Absent, Reason, Reasons, Root

__all__ = ["PowerReading", "Rail", "parse_throttled", "read"]

_RAPL: Final = "sys/class/powercap"
_PACKAGE: Final = "package-"
_THROTTLED: Final = "sys/devices/platform/*/*:firmware/get_throttled"
"""Pi 4: soc/soc:firmware; Pi 5: soc@107c000000/soc@107c000000:firmware."""
_BITS: Final = ("under_voltage", "frequency_capped", "is_throttled", "soft_limit")
"""Bits 0 to 3, now; bits 16 to 19, since boot, are not used: the kernel's own driver clears them."""
_NO_PI: Final = Absent(path="", reason="only the firmware of a Raspberry Pi tells it")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """One look. None: nobody measures it, or it cannot be read; `reasons` tells which, by field."""

    rails: tuple[Rail, ...]
    input_watts: float | None
    """Of the whole module, by its input rail."""
    energy_joules: float | None
    """RAPL: what the processor packages have used, a counter that wraps at `energy_range_joules`."""
    under_voltage: bool | None
    frequency_capped: bool | None
    is_throttled: bool | None
    soft_limit: bool | None
    """The firmware's soft limit of temperature is reached."""
    missing: str | None
    """Why there is no `input_watts`; None: there is."""
    energy_range_joules: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_over_current(self) -> bool | None:
        """A rail is past a limit; None: no rail tells."""
        known = [rail.is_over_current for rail in self.rails if rail.is_over_current is not None]
        return any(known) if known else None


def read(root: Root) -> PowerReading:
    """Read all four sources; about 40 small files on a Jetson."""
    found = rails.read(root)
    watts = rails.input_watts(found)
    energy, most = _energy(root)
    flags = _flags(root)
    reasons = Reasons()
    return PowerReading(
        rails=found,
        input_watts=reasons.known("input_watts", watts),
        energy_joules=reasons.known("energy_joules", energy),
        energy_range_joules=reasons.known("energy_range_joules", most),
        missing=str(watts) if isinstance(watts, Absent) else None,
        under_voltage=reasons.known("under_voltage", flags["under_voltage"]),
        frequency_capped=reasons.known("frequency_capped", flags["frequency_capped"]),
        is_throttled=reasons.known("is_throttled", flags["is_throttled"]),
        soft_limit=reasons.known("soft_limit", flags["soft_limit"]),
        reasons=reasons,
    )


def parse_throttled(text: str) -> dict[str, bool] | None:
    """The firmware's word: hexadecimal, in sysfs without `0x`. None: it is no such word."""
    word = text.strip().lower().removeprefix("0x")
    if not word or len(word) > 8 or not set(word) <= set("0123456789abcdef"):
        return None
    bits = int(word, 16)
    return {name: bool(bits >> bit & 1) for bit, name in enumerate(_BITS)}


def _flags(root: Root) -> dict[str, bool | Absent]:
    flags: dict[str, bool | Absent] = dict.fromkeys(_BITS, _NO_PI)
    for path in root.glob(_THROTTLED)[:1]:
        text = root.text(path)
        word = None if isinstance(text, Absent) else parse_throttled(text)
        fault = text if isinstance(text, Absent) else Absent(path=path, reason=Reason.NOT_A_NUMBER)
        flags.update({name: word[name] if word else fault for name in _BITS})
    for chip in chips(root, names=("rpi_volt",)):
        alarm = root.integer(f"{chip.path}/in0_lcrit_alarm")
        if isinstance(alarm, int):
            # Either source is enough: the driver sees what happened between two looks at the word.
            flags["under_voltage"] = alarm != 0 or flags["under_voltage"] is True
    return flags


def _energy(root: Root) -> tuple[float | Absent, float | Absent]:
    """Joules of all packages, and where the sum wraps: only known for a single package."""
    listed = root.names(_RAPL)
    if isinstance(listed, Absent):
        return listed, listed
    zones = [f"{_RAPL}/{entry}" for entry in listed if re.fullmatch("intel-rapl:[0-9]{1,3}", entry)]
    packages = [zone for zone in zones if str(root.text(f"{zone}/name")).startswith(_PACKAGE)]
    if not packages:
        none = Absent(path=_RAPL, reason="no package of a processor counts its energy")
        return none, none
    counters = [root.integer(f"{zone}/energy_uj") for zone in packages]
    unread = next((counter for counter in counters if isinstance(counter, Absent)), None)
    joules = unread or sum(counter for counter in counters if isinstance(counter, int)) / 1e6
    most = root.integer(f"{packages[0]}/max_energy_range_uj")
    if len(packages) > 1:
        most = Absent(path=_RAPL, reason="the counters of several packages wrap one by one")
    return joules, most / 1e6 if isinstance(most, int) else most
