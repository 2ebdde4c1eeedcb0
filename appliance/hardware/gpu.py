"""Load and clocks of an integrated GPU, and of the memory it shares.

Three traps: the load of a Jetson is per mille and of a Rockchip per cent; devfreq counts in Hz where cpufreq
counts in kHz; and reading the load of a GPU that is switched off wakes it, so its power state is asked first.
On Orin `nvidia-smi` is a stub, and is not asked at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware.root import Absent, Reasons, Root

_DEVFREQ: Final = "sys/class/devfreq"
_GPU: Final = re.compile(r"[0-9a-f]+\.(?:gpu|ga10b|gv11b|gp10b)|gpu-gpc-0")
"""17000000.ga10b (Orin, R35), 17000000.gpu (R36), 17000000.gv11b, 57000000.gpu, fb000000.gpu; Thor."""
_DEVICES: Final = ("sys/devices/gpu.0", "sys/devices/platform/gpu.0")
_LOADS: Final = (*_DEVICES, "sys/devices/*.g[apv]1[01]b", "sys/devices/57000000.gpu")
_EMC: Final = "sys/kernel/debug/bpmp/debug/clk/emc"
_BANDWIDTH: Final = f"{_DEVFREQ}/bwmgr"
"""Thor."""
_LEAST_HERTZ: Final = 1_000_000
_MOST_HERTZ: Final = 10_000_000_000
_ROCKCHIP_LOAD: Final = re.compile(r"([0-9]{1,3})@[0-9]{1,19}Hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One look. None: the driver does not say; `reasons` tells why, by field."""

    name: str | None
    """Of its clock in devfreq."""
    load: float | None
    """0 to 1."""
    current_hertz: int | None
    limit_hertz: int | None
    """The most that user space (nvpmodel) allows now."""
    governor: str | None
    memory_hertz: int | None
    """Of the memory controller; twice that by the width of the bus is the bandwidth."""
    memory_most_hertz: int | None
    reasons: Mapping[str, str] = field(default_factory=dict)


def read(root: Root) -> Gpu:
    """Read the one integrated GPU that a board has."""
    reasons = Reasons()
    name = reasons.known("name", _name(root))
    absent = Absent(path=_DEVFREQ, reason="no GPU has a clock there")
    clock = f"{_DEVFREQ}/{name}"
    memory = _memory(root)
    return Gpu(
        name=name,
        load=reasons.known("load", _load(root, name)),
        current_hertz=reasons.known("current_hertz", _hertz(root, f"{clock}/cur_freq") if name else absent),
        limit_hertz=reasons.known("limit_hertz", _hertz(root, f"{clock}/max_freq") if name else absent),
        governor=reasons.known("governor", root.text(f"{clock}/governor") if name else absent),
        memory_hertz=reasons.known("memory_hertz", memory[0]),
        memory_most_hertz=reasons.known("memory_most_hertz", memory[1]),
        reasons=reasons,
    )


def _name(root: Root) -> str | Absent:
    listed = root.names(_DEVFREQ)
    if isinstance(listed, Absent):
        return listed
    clocks = [name for name in listed if _GPU.fullmatch(name)]
    return clocks[0] if clocks else Absent(path=_DEVFREQ, reason="no GPU has a clock there")


def _load(root: Root, name: str | None) -> float | Absent:
    """Per mille of nvgpu; `PERCENT@HERTZHz` of Rockchip's own kernel."""
    for device in (place for pattern in _LOADS for place in root.glob(pattern)):
        if root.text(f"{device}/power/runtime_status") == "suspended":
            return Absent(path=device, reason="switched off; to read its load would wake it")
        load = root.integer(f"{device}/load")
        if isinstance(load, Absent):
            return load
        wrong = Absent(path=f"{device}/load", reason=f"{load} is not per mille")
        return load / 1000 if 0 <= load <= 1000 else wrong
    if name is None:
        return Absent(path="", reason="no known GPU")
    text = root.text(f"{_DEVFREQ}/{name}/load")
    if isinstance(text, Absent):
        return text
    match = _ROCKCHIP_LOAD.fullmatch(text)
    percent = int(match[1]) if match else 101
    return percent / 100 if percent <= 100 else Absent(path=f"{_DEVFREQ}/{name}/load", reason="not a load")


def _memory(root: Root) -> tuple[int | Absent, int | Absent]:
    """Now and at most; below /sys/kernel/debug only root may read."""
    if root.has(_BANDWIDTH):
        return _hertz(root, f"{_BANDWIDTH}/cur_freq"), _hertz(root, f"{_BANDWIDTH}/max_freq")
    return _hertz(root, f"{_EMC}/rate"), _hertz(root, f"{_EMC}/max_rate")


def _hertz(root: Root, path: str) -> int | Absent:
    """A clock outside 1 MHz to 10 GHz is in another unit, or garbage."""
    value = root.integer(path)
    if isinstance(value, Absent) or _LEAST_HERTZ <= value <= _MOST_HERTZ:
        return value
    return Absent(path=path, reason=f"{value} Hz is not the clock of a GPU or of memory")
