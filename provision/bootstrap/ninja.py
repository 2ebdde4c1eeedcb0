"""How far a ninja build is, from its `[n/m]` lines, as one line for people. Pure: lines and time in, text
out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from provision.bootstrap.steps import duration

_LINE: Final = re.compile(r"\s*\[(\d+)/(\d+)\] ")
_BAR_WIDTH: Final = 30
_ETA_FROM: Final = 5
"""Steps before the first estimate: the first ones are too small to judge by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Steps done and planned."""

    done: int
    total: int

    @property
    def percent(self) -> int:
        return 100 * self.done // self.total


def parse(line: str) -> Progress | None:
    """The progress that one line of the build tells, or None when it tells nothing."""
    match = _LINE.match(line)
    if match is None or int(match[2]) == 0:
        return None
    return Progress(done=int(match[1]), total=int(match[2]))


def render(progress: Progress, *, elapsed_s: float) -> str:
    """`[#####.....]  34 %   66/193   2 min 3 s, about 4 min left`. The rest is judged by the steps so far."""
    filled = _BAR_WIDTH * progress.done // progress.total
    bar = "#" * filled + "." * (_BAR_WIDTH - filled)
    text = f"[{bar}] {progress.percent:3} %  {progress.done}/{progress.total}  {duration(elapsed_s)}"
    if _ETA_FROM <= progress.done < progress.total:
        left_s = elapsed_s / progress.done * (progress.total - progress.done)
        text += f", about {duration(left_s)} left"
    return text
