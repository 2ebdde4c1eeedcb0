"""How old a file is, on a board whose clock may be wrong when it starts and is set while we run.

    age = what the clock said at the opening + what has passed since by the clock that nobody sets

Boards without a clock of their own start in 1970 (or where they were switched off) and jump when the network
tells the time. No file grows older by that jump, and a stamp from before any clock was set says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST_TRUE_S: Final = 1_704_067_200.0
"""2024-01-01: no file of this program is older."""


class Ages:
    """Begins when it is made. Immutable; any thread."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._opened_s = wall()
        self._opened_monotonic_s = monotonic()

    def age_s(self, stamped_s: float, now_s: float) -> float:
        """Of a file whose stamp and the present are Unix times; rather too little than too much."""
        before_s = max(0.0, self._opened_s - stamped_s) if stamped_s >= FIRST_TRUE_S else 0.0
        since_s = self._monotonic() - self._opened_monotonic_s
        return min(now_s - stamped_s, before_s + since_s)
