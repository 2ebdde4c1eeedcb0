"""The share of time that models may compute, so that the nearest zone stays a target below its limit.

A PI controller on the margin as it will be a few seconds ahead (so with the slope in it), in position form:

    duty = I + Kp (margin_ahead - target)          kept within [LEAST_DUTY, 1]

The integral moves only while the duty is between its bounds. So it stays what this board can bear, through
pauses of the load and bursts from cold, and the next burst brakes in time. Below the target there is a second
rule that looks at no history: the duty is at most in proportion to the margin that is left.

Gains: a board warms by G = R x power kelvins at full load, within a time constant of some 30 to 600 s.
Kp = 0.15 makes the loop faster by 1 + Kp x G (4 to 10 times), slow against the filters (2 and 4 s) and the
engine's steps.

The target follows the sensor: half a kelvin and three times the ripple that is seen while the pace is in
force. A quiet sensor gives away one kelvin, one of whole degrees two or three.
"""

from __future__ import annotations

import math

LEAST_DUTY = 0.1
"""Running streams always go on."""
HORIZON_S = 6.0

_KP = 0.15
_KI = 0.004
_FIRST_INTEGRAL = 0.5
"""Of a board that is not known yet: full pace down to 3 K above the target, then braking."""
_SLEW_UP_PER_S = 0.03
_FIRST_TARGET_CELSIUS = 2.0
_MOST_TARGET_CELSIUS = 3.0
_BELOW_THROTTLE_CELSIUS = 1.0
_MOST_LEARNT_CELSIUS = 6.0
_RIPPLES = 3.0
_RIPPLE_BASE_CELSIUS = 0.4
_RIPPLE_SMOOTH_S = 90.0


class HeatPace:
    """Owned by the governor."""

    def __init__(self, *, least_margin_celsius: float) -> None:
        self.duty = 1.0
        self.target_celsius = max(_FIRST_TARGET_CELSIUS, least_margin_celsius)
        self._least_celsius = least_margin_celsius
        self._integral = _FIRST_INTEGRAL
        self._ripple = (self.target_celsius - _RIPPLE_BASE_CELSIUS) / _RIPPLES

    def update(
        self, *, ahead_celsius: float, margin_celsius: float, raw_celsius: float, gap_s: float
    ) -> float:
        """`ahead_celsius`: the margin `HORIZON_S` from now. `raw_celsius`: unsmoothed. Returns the duty."""
        error = ahead_celsius - self.target_celsius
        wanted = self._integral + _KP * error
        if LEAST_DUTY < wanted < 1.0 or (wanted <= LEAST_DUTY and error > 0) or (wanted >= 1.0 and error < 0):
            self._integral = _within(self._integral + _KI * error * gap_s)
            wanted = self._integral + _KP * error
        duty = _within(min(wanted, self._brake(min(margin_celsius, ahead_celsius))))
        self.duty = min(duty, self.duty + _SLEW_UP_PER_S * gap_s)
        self._learn_ripple(raw_celsius, gap_s)
        return self.duty

    @property
    def bearable_duty(self) -> float:
        """What this board bears in the long run, as far as it is known."""
        return self._integral

    def throttled(self, margin_celsius: float) -> None:
        """The kernel or the firmware throttles for heat at this margin: the limit is lower than it says."""
        self.duty = LEAST_DUTY
        wanted = margin_celsius + _BELOW_THROTTLE_CELSIUS
        self._least_celsius = max(self._least_celsius, min(wanted, _MOST_LEARNT_CELSIUS))
        self.target_celsius = max(self.target_celsius, self._least_celsius)

    def _brake(self, margin_celsius: float) -> float:
        """The second rule: full pace at half of the target, none at the limit."""
        return 2 * margin_celsius / self.target_celsius

    def _learn_ripple(self, raw_celsius: float, gap_s: float) -> None:
        if self.duty >= 1.0:
            return
        seen = min(abs(raw_celsius - self.target_celsius), _MOST_TARGET_CELSIUS)
        self._ripple += (seen - self._ripple) * (1 - math.exp(-gap_s / _RIPPLE_SMOOTH_S))
        wanted = _RIPPLE_BASE_CELSIUS + _RIPPLES * self._ripple
        self.target_celsius = max(self._least_celsius, min(wanted, _MOST_TARGET_CELSIUS))


def _within(duty: float) -> float:
    return max(LEAST_DUTY, min(1.0, duty))
