"""All metrics there are, and their page `docs/metrics.md`.

`python -m appliance.telemetry.registry docs/metrics.md` (`make docs`) rewrites what stands between the marks
`<!-- metrics -->` and `<!-- end -->`; a test compares. Nothing at run time needs this module.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from appliance.telemetry import (
    access_metrics,
    door_metrics,
    engine_metrics,
    hardware_metrics,
    heat_metrics,
    prometheus,
    queue_metrics,
    store_metrics,
    stream_metrics,
)
from appliance.telemetry.families import Family
from appliance.telemetry.text import PREFIX

CHAPTERS: Final[dict[str, tuple[Family, ...]]] = {
    "Requests": door_metrics.FAMILIES,
    "The queue": queue_metrics.FAMILIES,
    "Resumable streams": stream_metrics.FAMILIES,
    "Models and their runners": engine_metrics.FAMILIES,
    "The daemon": prometheus.FAMILIES,
    "The store": store_metrics.FAMILIES,
    "Keys and usage": access_metrics.FAMILIES,
    "Heat and power": heat_metrics.FAMILIES,
    "The board": hardware_metrics.FAMILIES,
}
FAMILIES: Final = {family.name: family for chapter in CHAPTERS.values() for family in chapter}

_BLOCK: Final = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    lines: list[str] = []
    for chapter, families in CHAPTERS.items():
        lines += [f"### {chapter}", "", "| metric | kind | labels | what it is |", "|---|---|---|---|"]
        for family in families:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            lines.append(f"| `{PREFIX}{family.name}` | {family.kind} | {labels} | {family.help} |")
        lines.append("")
    return "\n".join(lines)


def rewritten(text: str) -> str:
    return _BLOCK.sub(lambda block: f"{block[1]}{table()}{block[2]}", text)


def main() -> int:
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
