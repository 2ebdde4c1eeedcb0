"""Processors of the board beside `cpu`: which are on, how strong they are, how fast they may run now.

A power mode of a Jetson takes cores off line and bounds the clocks, so both are read anew with each sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from appliance.hardware import cpu
from appliance.hardware.root import Absent, Reasons, Root

_POLICIES: Final = f"{cpu.CPU_DIR}/cpufreq"
_KHZ: Final = 1000
_UNBOUNDED: Final = Absent(path="", reason="no cgroup bounds the processor time of this process")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyPolicy:
    """Cores that share one clock. None: the driver does not say."""

    cores: tuple[int, ...]
    governor: str | None
    current_hertz: int | None
    limit_hertz: int | None
    """The most that user space (nvpmodel) allows now."""
    most_hertz: int | None
    """The most that the hardware can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTopology:
    """One look. None: the kernel does not say; `reasons` tells why, by field."""

    online: tuple[int, ...]
    possible: tuple[int, ...]
    """Including those that a power mode has switched off."""
    capacities: Mapping[int, int]
    """The scheduler's relative strength of the cores that are on; empty: all are alike."""
    usable_big_cores: int
    """How many threads this process should compute with."""
    quota_cores: float | None
    policies: tuple[FrequencyPolicy, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)


def read(root: Root) -> CpuTopology:
    """Read cores, capacities and clocks."""
    reasons = Reasons()
    online = reasons.known("online", _list(root, f"{cpu.CPU_DIR}/online")) or ()
    possible = reasons.known("possible", _list(root, f"{cpu.CPU_DIR}/possible")) or ()
    facts = cpu.read(root)
    capacities = {index: cpu.read_capacity(root, index) for index in online}
    policies = read_policies(root)
    quota = _UNBOUNDED if facts.quota_cores is None else facts.quota_cores
    if not policies:
        reasons["policies"] = f"/{_POLICIES}: no clock is told"
    return CpuTopology(
        online=online,
        possible=possible,
        capacities={index: capacity for index, capacity in capacities.items() if capacity is not None},
        usable_big_cores=facts.usable_big_cores,
        quota_cores=reasons.known("quota_cores", quota),
        policies=policies,
        reasons=reasons,
    )


def read_policies(root: Root) -> tuple[FrequencyPolicy, ...]:
    """By their first core. cpufreq counts in kHz."""
    listed = root.names(_POLICIES)
    entries = [] if isinstance(listed, Absent) else [name for name in listed if name.startswith("policy")]
    found = [_policy(root, f"{_POLICIES}/{name}") for name in entries]
    return tuple(sorted((policy for policy in found if policy), key=lambda policy: policy.cores))


def _policy(root: Root, path: str) -> FrequencyPolicy | None:
    cores = root.integers(f"{path}/related_cpus")
    governor = root.text(f"{path}/scaling_governor")
    if isinstance(cores, Absent):
        return None
    return FrequencyPolicy(
        cores=cores,
        governor=governor if isinstance(governor, str) else None,
        current_hertz=_hertz(root, f"{path}/scaling_cur_freq"),
        limit_hertz=_hertz(root, f"{path}/scaling_max_freq"),
        most_hertz=_hertz(root, f"{path}/cpuinfo_max_freq"),
    )


def _hertz(root: Root, path: str) -> int | None:
    khz = root.integer(path)
    return khz * _KHZ if isinstance(khz, int) and khz > 0 else None


def _list(root: Root, path: str) -> tuple[int, ...] | Absent:
    text = root.text(path)
    if isinstance(text, Absent):
        return text
    return tuple(sorted(cpu.parse_cpu_list(text))) or Absent(path=path, reason="not a list of cores")
