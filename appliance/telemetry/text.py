"""Prometheus's text form 0.0.4. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from appliance.histogram import Histogram
from appliance.telemetry.families import Labels, Sample

PREFIX = "outpost_"


def head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {_line_of(text)}", f"# TYPE {PREFIX}{name} {kind}"]


def line(name: str, labels: Labels, value: float) -> str:
    inner = _inner(labels)
    return f"{PREFIX}{name}{{{inner}}} {_number(value)}" if inner else f"{PREFIX}{name} {_number(value)}"


def sample_lines(samples: Iterable[Sample]) -> list[str]:
    """Samples of one name come one after another; each name has its head once."""
    lines: list[str] = []
    last = None
    for sample in samples:
        if sample.name != last:
            lines += head(sample.name, sample.help, sample.kind)
            last = sample.name
        lines.append(line(sample.name, sample.labels, sample.value))
    return lines


def histogram_lines(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    # PERF: most lines of a page are these, so what they share is made once.
    inner = _inner(labels)
    comma = "," if inner else ""
    start = f'{PREFIX}{name}_bucket{{{inner}{comma}le="'
    lines, total = [], 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        lines.append(f'{start}{bound}"}} {total}')
    return [*lines, line(f"{name}_sum", labels, histogram.sum), line(f"{name}_count", labels, total)]


def _inner(labels: Labels) -> str:
    return ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _line_of(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
