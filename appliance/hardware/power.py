"""What a board draws, and whether its supply or its firmware holds it back.

Four sources, none of which every board has: rails (`rails`), the energy counter of a PC's processor (RAPL),
the throttle word of a Raspberry Pi's firmware, and its under-voltage alarm. A value nobody measures is None
with its reason; a power is never an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware import rails
from appliance.hardware.hwmon import chips
from appliance.hardware.rails import Rail
from appliance.hardware.root import Absent, Reason, Root

__all__ = ["PowerReading", "Rail", "parse_throttled", "read"]

_RAPL: Final = "sys/class/powercap"
_PACKAGE: Final = "package-"
_THROTTLED: Final = "sys/devices/platform/*/*:firmware/get_throttled"
"""Pi 4: soc/soc:firmware; Pi 5: soc@107c000000/soc@107c000000:firmware."""
_BITS: Final = ("under_voltage", "frequency_capped", "is_throttled", "soft_limit")
"""Bits 0 to 3, now; bits 16 to 19, since boot, are not used: the kernel's own driver clears them."""
_NO_PI: Final = "only the firmware of a Raspberry Pi tells it"


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
    energy = _energy(root)
    flags = _flags(root)
    reasons = {name: value for name, value in flags.items() if isinstance(value, str)}
    missing = watts if isinstance(watts, str) else None
    if missing is not None:
        reasons["input_watts"] = missing
    if isinstance(energy, Absent):
        reasons["energy_joules"] = reasons["energy_range_joules"] = str(energy)
    joules, most = (None, None) if isinstance(energy, Absent) else energy
    return PowerReading(
        rails=found,
        input_watts=watts if isinstance(watts, float) else None,
        energy_joules=joules,
        energy_range_joules=most,
        missing=missing,
        reasons=reasons,
        **{name: value if isinstance(value, bool) else None for name, value in flags.items()},
    )


def parse_throttled(text: str) -> dict[str, bool] | None:
    """The firmware's word: hexadecimal, in sysfs without `0x`. None: it is no such word."""
    word = text.strip().lower().removeprefix("0x")
    if not word or len(word) > 8 or not set(word) <= set("0123456789abcdef"):
        return None
    bits = int(word, 16)
    return {name: bool(bits >> bit & 1) for bit, name in enumerate(_BITS)}


def _flags(root: Root) -> dict[str, bool | str]:
    """Each flag, or why it is unknown."""
    flags: dict[str, bool | str] = dict.fromkeys(_BITS, _NO_PI)
    for path in root.glob(_THROTTLED)[:1]:
        text = root.text(path)
        word = None if isinstance(text, Absent) else parse_throttled(text)
        if word is not None:
            flags.update(word)
        else:
            fault = text if isinstance(text, Absent) else Absent(path=path, reason=Reason.NOT_A_NUMBER)
            flags.update(dict.fromkeys(_BITS, str(fault)))
    for chip in chips(root, names=("rpi_volt",)):
        alarm = root.integer(f"{chip.path}/in0_lcrit_alarm")
        if isinstance(alarm, Absent):
            continue
        # Either source is enough: the driver sees what happened between two looks at the word.
        flags["under_voltage"] = alarm != 0 or flags["under_voltage"] is True
    return flags


def _energy(root: Root) -> tuple[float, float | None] | Absent:
    """Joules of all packages, and where the sum wraps: only known for a single package."""
    listed = root.names(_RAPL)
    if isinstance(listed, Absent):
        return listed
    counters, ranges = [], []
    for entry in (entry for entry in listed if entry.startswith("intel-rapl:") and entry.count(":") == 1):
        name = root.text(f"{_RAPL}/{entry}/name")
        if isinstance(name, Absent) or not name.startswith(_PACKAGE):
            continue
        counter = root.integer(f"{_RAPL}/{entry}/energy_uj")
        if isinstance(counter, Absent):
            return counter
        counters.append(counter)
        ranges.append(root.integer(f"{_RAPL}/{entry}/max_energy_range_uj"))
    if not counters:
        return Absent(path=f"{_RAPL}/intel-rapl:0", reason=Reason.NOT_THERE)
    most = ranges[0] if len(ranges) == 1 else None
    return sum(counters) / 1e6, most / 1e6 if isinstance(most, int) else None
