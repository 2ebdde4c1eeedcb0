"""Pauses between steps: how long a runner may compute, as a share of time. Pure: times come in.

A pause is owed for each step and paid before the next one. Small debts are collected, because a sleep of
some microseconds takes longer than it says; what was slept too long is credit, within bounds. So the share
is kept on average, while the gaps between tokens stay even.
"""

from __future__ import annotations

from appliance.wire.messages import SetLimits

LEAST_PAUSE_S = 0.004
MOST_PAUSE_S = 30.0
"""After one step, however long it took."""
_LEAST_DUTY = 0.02
_MOST_CREDIT_S = 0.05


class Pacing:
    """Owned by the runner's main thread."""

    def __init__(self) -> None:
        self._duty = 1.0
        self._pause_s = 0.0
        self._owed_s = 0.0

    @property
    def is_on(self) -> bool:
        """PERF: without limits, steps are not even timed."""
        return self._duty < 1.0 or self._pause_s > 0.0

    def set_limits(self, limits: SetLimits) -> None:
        """A looser pace also forgives what is still owed, in proportion."""
        duty = max(_LEAST_DUTY, min(1.0, limits.duty))
        if self._owed_s > 0 and duty > self._duty:
            self._owed_s *= (1 / duty - 1) / (1 / self._duty - 1)
        self._duty, self._pause_s = duty, max(0.0, limits.pause_s)

    def stepped(self, seconds: float) -> None:
        """A step was computed and took so long."""
        owed = self._pause_s + seconds * (1 / self._duty - 1)
        self._owed_s += min(owed, MOST_PAUSE_S)

    def paused(self, seconds: float) -> None:
        self._owed_s = max(self._owed_s - seconds, -_MOST_CREDIT_S)

    def due_s(self) -> float:
        """How long to pause now; 0 while too little is owed, or nothing is limited any more."""
        return self._owed_s if self.is_on and self._owed_s >= LEAST_PAUSE_S else 0.0
