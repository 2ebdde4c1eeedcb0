"""What a metric is: its name, what it means, its kind, its labels. Each module of metrics lists its own in
FAMILIES; `registry.py` has them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.histogram import Bounds

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a gauge or counter. `name` without the prefix `outpost_`."""

    name: str
    value: float
    labels: Labels = ()
    help: str = ""
    kind: str = "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name, which is without the prefix `outpost_`. Names end in their unit (seconds,
    bytes, celsius, joules, watts, ratio), counters in `_total`.
    """

    name: str
    help: str
    kind: str = "gauge"
    """gauge | counter | histogram"""
    labels: tuple[str, ...] = ()
    buckets: Bounds = ()

    def sample(self, value: float, *labels: str) -> Sample:
        """`labels`: the values of its labels, in their order."""
        told = tuple(zip(self.labels, labels, strict=True))
        return Sample(name=self.name, value=value, labels=told, help=self.help, kind=self.kind)
