"""Memory pressure as the kernel measures it (PSI): the share of time that tasks waited for memory.

Absent on L4T R35 (not compiled in) and on a Raspberry Pi 5 (off unless the kernel gets `psi=1`): there
MemAvailable is all there is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.hardware.root import Absent, Reason, Root

PATH: Final = "proc/pressure/memory"
_LINE: Final = re.compile(
    r"^(some|full) avg10=([0-9]{1,3}(?:\.[0-9]{1,9})?) .*total=([0-9]{1,19})$", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Shares are 0 to 1, over the last 10 seconds; totals count since boot."""

    some_share: float
    """Of the time in which at least one task waited for memory."""
    full_share: float
    """Of the time in which all of them did."""
    some_total_s: float
    full_total_s: float


def read(root: Root) -> Pressure | Absent:
    """Read the pressure on the memory of the whole machine."""
    text = root.text(PATH)
    if isinstance(text, Absent):
        return text
    found = parse(text)
    return found if found is not None else Absent(path=PATH, reason=Reason.NOT_A_NUMBER)


def parse(text: str) -> Pressure | None:
    """Two lines, `some` and `full`, with averages in percent and totals in microseconds. None: not so."""
    lines = {match[1]: (float(match[2]) / 100, int(match[3]) / 1e6) for match in _LINE.finditer(text)}
    if lines.keys() != {"some", "full"}:
        return None
    return Pressure(
        some_share=min(lines["some"][0], 1.0),
        full_share=min(lines["full"][0], 1.0),
        some_total_s=lines["some"][1],
        full_total_s=lines["full"][1],
    )
