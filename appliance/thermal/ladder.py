"""From what each cause wants to the state that is reported: up at once, down late, and not often. Pure.

    up      at once, to the level that is wanted
    down    when a lower one has been wanted for `DWELL_S`, and only if the hour still has room for it

Room: every way down may be followed by ways up again. A way down to level L is taken only if the changes of
the last hour, this one, and all ups from L to the top are at most `MOST_CHANGES`. So no sequence of readings
whatsoever gives more than that in an hour. A state that stays costs little: in `paced` the pace itself is
free to rise to 1.
"""

from __future__ import annotations

from collections import deque

from appliance.thermal.values import CoolingState

DWELL_S = 30.0
MOST_CHANGES = 6
HOUR_S = 3600.0
_TOP = CoolingState.CLOSED.level


class Ladder:
    """Owned by the governor."""

    def __init__(self) -> None:
        self.level = 0
        self.changes = 0
        self._recent: deque[float] = deque()
        self._lower_since_s: float | None = None
        self._lower_most = 0
        """The highest level wanted since then."""

    @property
    def state(self) -> CoolingState:
        return CoolingState.of_level(self.level)

    def update(self, wanted: int, at_s: float) -> CoolingState:
        while self._recent and at_s - self._recent[0] >= HOUR_S:
            self._recent.popleft()
        if wanted >= self.level:
            self._lower_since_s = None
            if wanted > self.level:
                self._change(wanted, at_s)
            return self.state
        if self._lower_since_s is None:
            self._lower_since_s, self._lower_most = at_s, wanted
        self._lower_most = max(self._lower_most, wanted)
        if at_s - self._lower_since_s >= DWELL_S and self._has_room(self._lower_most):
            self._change(self._lower_most, at_s)
        return self.state

    def wait_s(self, at_s: float) -> float:
        """At least until then, it does not go down."""
        dwell = 0.0 if self._lower_since_s is None else at_s - self._lower_since_s
        return max(0.0, DWELL_S - dwell)

    def _has_room(self, level: int) -> bool:
        return len(self._recent) + 1 + (_TOP - level) <= MOST_CHANGES

    def _change(self, level: int, at_s: float) -> None:
        self.level = level
        self.changes += 1
        self._recent.append(at_s)
        self._lower_since_s = None
