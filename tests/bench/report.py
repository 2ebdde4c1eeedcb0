"""The result: one table for people, one JSON file for machines, and the README's copy of the table. Pure but
for I/O.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench import machine
from tests.bench.goals import Row
from tests.bench.load import BenchError

_BEGIN: Final = "<!-- bench:begin -->"
_END: Final = "<!-- bench:end -->"
_HEAD: Final = ("work", "measure", "llama.cpp", "examples/server", "Outpost", "ratio", "to reach", "reached")


def table(rows: Sequence[Row]) -> str:
    """Markdown, aligned so that it also reads in a terminal."""
    cells = [list(_HEAD), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells
    ]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cells(row: Row) -> list[str]:
    ratio = row.ratio
    return [
        row.title,
        f"{row.goal.label}",
        _value(row.peer, row.goal.unit),
        _value(row.second_peer, row.goal.unit),
        _value(row.ours, row.goal.unit),
        "–" if ratio is None else f"{ratio:.2f}x",
        row.goal.text,
        "yes" if row.reached else "**no**",
    ]


def _value(values: Sequence[float], unit: str) -> str:
    if not values:
        return "–"
    value = median(values)
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def write_json(path: Path, *, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """All rounds of all rows, not only the medians."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = [
        {
            "row": row.goal.row,
            "work": row.title,
            "measure": row.goal.label,
            "unit": row.goal.unit,
            "ours": row.ours,
            "peer": row.peer,
            "second_peer": row.second_peer,
            "ratio": row.ratio,
            "goal": row.goal.text,
            "reached": row.reached,
        }
        for row in rows
    ]
    path.write_text(json.dumps({**facts, "results": results}, indent=1, ensure_ascii=False) + "\n")


def update_readme(path: Path, *, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Put the table between the markers. Raises BenchError when they are missing."""
    text = path.read_text()
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise BenchError(f"{path} has no {_BEGIN} … {_END}")
    told = f"{machine.sentence(facts['machine'])}; medians of {facts['rounds']} rounds, {facts['when']}."
    path.write_text(f"{before}{_BEGIN}\n{table(rows)}\n\n{told}\n{_END}{after}")
