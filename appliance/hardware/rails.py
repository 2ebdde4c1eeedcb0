"""Power rails: what a board draws, by the chips that measure it.

Chips are found by hwmon name, not by driver or address, for both change with the release. An INA3221 has
three channels in millivolts and milliamperes (its fourth voltage is a sum of shunts, no rail); an INA238
gives microwatts; JetPack 4 has neither, but iio attributes in milliwatts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.hardware.hwmon import Chip, chips
from appliance.hardware.root import Absent, Root

_CHIPS: Final = ("ina3221", "ina238")
_NOT_CONNECTED: Final = "NC"
_IIO: Final = "sys/bus/i2c/drivers/ina3221x/*/iio:device*"
_INPUTS: Final = ("VDD_IN", "VIN", "POM_5V_IN")
"""The rail that feeds all of the module: Orin Nano and NX and Xavier NX; Thor; Nano."""
_AGX_PARTS: Final = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
"""AGX Orin has no such rail. VDDQ_VDD2_1V8AO is fed from the 5 V here, so it is not added again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One measured supply. None: the chip does not say."""

    name: str
    power_watts: float | None
    volts: float | None
    amperes: float | None
    is_over_current: bool | None
    """A limit of the chip is passed now."""


def read(root: Root) -> tuple[Rail, ...]:
    """All rails, by name."""
    found = [rail for chip in chips(root, names=_CHIPS) for rail in _of_chip(root, chip)]
    found += [rail for device in root.glob(_IIO) for rail in _of_iio(root, device)]
    return tuple(sorted(found, key=lambda rail: (rail.name, rail.volts or 0.0, rail.amperes or 0.0)))


def input_watts(rails: tuple[Rail, ...]) -> float | Absent:
    """What the whole module takes. No rail is guessed by a part of its name: `VDD_CPU_GPU_CV` has three."""
    power = {rail.name: rail.power_watts for rail in rails}
    parts = next(([name] for name in _INPUTS if name in power), _AGX_PARTS)
    if not power:
        return Absent(path="", reason="no power sensor on this board")
    if not power.keys() >= set(parts):
        names = ", ".join(sorted(power))
        return Absent(path="", reason=f"none of the rails feeds the whole board: {names}")
    watts = {name: power[name] for name in parts}
    silent = [name for name, value in watts.items() if value is None]
    if silent:
        return Absent(path="", reason=f"no power is told for rail {', '.join(silent)}")
    return round(sum(value for value in watts.values() if value is not None), 6)


def _of_chip(root: Root, chip: Chip) -> list[Rail]:
    found = []
    for path in root.glob(f"{chip.path}/curr[1-9]_input"):
        channel = path.rsplit("/curr", 1)[1].removesuffix("_input")
        label = root.text(f"{chip.path}/in{channel}_label")
        if isinstance(label, Absent) and chip.name == "ina238":  # one channel, labelled in newer kernels only
            label = root.text(f"{chip.path}/label")
            label = "VIN" if isinstance(label, Absent) else label
        if isinstance(label, Absent) or label.upper() == _NOT_CONNECTED:
            continue
        volts = _scaled(root, f"{chip.path}/in{channel}_input", 1e3)
        amperes = _scaled(root, path, 1e3)
        watts = _scaled(root, f"{chip.path}/power{channel}_input", 1e6)
        found.append(
            Rail(
                name=label,
                power_watts=watts if watts is not None else _product(volts, amperes),
                volts=volts,
                amperes=amperes,
                is_over_current=_alarm(root, f"{chip.path}/curr{channel}"),
            )
        )
    return found


def _of_iio(root: Root, device: str) -> list[Rail]:
    found = []
    for path in root.glob(f"{device}/rail_name_[0-9]"):
        name, channel = root.text(path), path[-1]
        if isinstance(name, Absent) or name == _NOT_CONNECTED:
            continue
        volts = _scaled(root, f"{device}/in_voltage{channel}_input", 1e3)
        amperes = _scaled(root, f"{device}/in_current{channel}_input", 1e3)
        watts = _scaled(root, f"{device}/in_power{channel}_input", 1e3)
        power = watts if watts is not None else _product(volts, amperes)
        found.append(Rail(name=name, power_watts=power, volts=volts, amperes=amperes, is_over_current=None))
    return found


def _alarm(root: Root, prefix: str) -> bool | None:
    """True as soon as one of the limits is passed; None when none of the alarms can be read."""
    states = [root.integer(f"{prefix}_{kind}_alarm") for kind in ("max", "crit")]
    known = [state != 0 for state in states if isinstance(state, int)]
    return any(known) if known else None


def _product(volts: float | None, amperes: float | None) -> float | None:
    return round(volts * amperes, 6) if volts is not None and amperes is not None else None


def _scaled(root: Root, path: str, parts: float) -> float | None:
    value = root.integer(path)
    return value / parts if isinstance(value, int) else None
