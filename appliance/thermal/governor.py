"""The governor: from what is seen of heat and supply to limits for the engines. Pure: time comes in.

    sensors ── margin, slope ──▶ heat pace (PI) ─┐
            └─ faults ─────────▶ safe pace ──────┤
    supply flags ──────────────▶ supply cap ─────┼─▶ least duty, highest level ─▶ ladder ─▶ EngineLimits
    watts ─────────────────────▶ budget cap ─────┤
    throttle alerts ───────────▶ least pace ─────┘

Each cause says how long models may compute (`duty`) and how far the measures should go (`level`); the
strictest counts, and gives its name to the whole. Levels have hysteresis here, dwell and rate in `ladder`.

Who throttles, and why: an alert or a throttle bit while the supply complains (or did in the last minute) is
the supply's; while the nearest zone is far from its limit it is over-current; else it is heat.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.thermal.ladder import Ladder
from appliance.thermal.pace import HORIZON_S, LEAST_DUTY, HeatPace
from appliance.thermal.sensors import Nearest, Sensed, Sensors
from appliance.thermal.supply import BudgetCap, SupplyCap
from appliance.thermal.values import (
    Cause,
    Cooling,
    CoolingState,
    EngineLimits,
    HeatPolicy,
    Look,
)

SOFT_CELSIUS = 10.0
"""Nearer to the limit than this, the batch shrinks."""
_COOL_CELSIUS = 15.0
"""Farther than this, nothing is limited any more."""
_NEAR_CELSIUS = 5.0
"""Here the batch is at its small size; farther than this, `holding` and `closed` may end."""
_FAR_CELSIUS = 15.0
"""Who throttles at such a margin does not do it for heat."""
_HOLD_DUTY = 0.2
_HOLD_DUTY_ENDS = 0.4
SAFE_DUTY = 0.5
"""The pace without a sensor that is believed."""
WIDE_TOKENS = 256
SMALL_TOKENS = 128
_HOLDING_TOKENS = 64
_CLOSED_TOKENS = 32
_PERSISTS_S = 10.0
"""A supply that complains for so long although the duty is at its least."""
_BLAME_S = 60.0
_RECOVERED_S = 60.0
"""A sensor that was at fault must be well for so long."""
_QUICK_LOOK_S, _SLOW_LOOK_S = 0.25, 1.0
_MOST_GAP_S = 2.0
"""Longer gaps between looks count as this: nobody knows what was between."""
_RETRY_S = (5.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What one cause wants."""

    cause: Cause
    level: int
    duty: float
    reason: str


class Governor:
    """Owned by the thread `thermal`."""

    def __init__(self, policy: HeatPolicy) -> None:
        self._policy = policy
        self._sensors = Sensors(is_raspberry_pi=policy.is_raspberry_pi, horizon_s=HORIZON_S)
        self._pace = HeatPace(least_margin_celsius=policy.least_margin_celsius)
        self._under_voltage = _Supply()
        self._over_current = _Supply()
        self._budget = BudgetCap(policy.power_budget_watts)
        self._ladder = Ladder()
        self._at_s: float | None = None
        self._fault_at_s: float | None = None
        self._fault_reason = ""
        self._hot_level = 0
        self.cooling = Cooling()

    def update(self, look: Look) -> Cooling:
        gap_s = 0.0 if self._at_s is None else max(0.0, min(look.at_s - self._at_s, _MOST_GAP_S))
        self._at_s = look.at_s
        sensed = self._sensors.update(look)
        throttler = self._throttler(look, sensed.nearest)
        wishes = [
            self._undervoltage(look, gap_s),
            self._overcurrent(look, gap_s, throttles=throttler is Cause.OVERCURRENT),
            self._fault(sensed, look.at_s),
            self._hot(sensed, gap_s, throttles=throttler is Cause.HOT),
        ]
        level = max(wish.level for wish in wishes)
        state = self._ladder.update(level, look.at_s)
        duty = min(wish.duty for wish in wishes) if state is not CoolingState.NORMAL else 1.0
        self.cooling = self._cooling(look, sensed, state, duty, wishes)
        return self.cooling

    # ── what each cause wants ──────────────────────────────────────────────────────────────────────────────

    def _undervoltage(self, look: Look, gap_s: float) -> _Wish:
        complains = bool(look.power.under_voltage)
        level, duty = self._under_voltage.update(complains=complains, at_s=look.at_s, gap_s=gap_s)
        what = "the supply's voltage is too low" if complains else "the supply's voltage was too low"
        return _Wish(
            cause=Cause.UNDERVOLTAGE, level=level, duty=duty, reason=f"{what}: check supply and cable"
        )

    def _overcurrent(self, look: Look, gap_s: float, *, throttles: bool) -> _Wish:
        rails = [rail.name for rail in look.power.rails if rail.is_over_current]
        level, duty = self._over_current.update(
            complains=bool(rails) or throttles, at_s=look.at_s, gap_s=gap_s
        )
        reason = (
            f"too much current on {', '.join(rails)}" if rails else "the board throttles though it is cool"
        )
        wish = _Wish(cause=Cause.OVERCURRENT, level=level, duty=duty, reason=reason)
        watts, budget = look.power.input_watts, self._policy.power_budget_watts
        cap = self._budget.update(watts, gap_s=gap_s)
        if budget is None or cap >= min(duty, 1.0):
            return wish
        drawn = "an unknown power is drawn" if watts is None else f"{watts:.1f} W are drawn"
        reason = f"{drawn}, {budget:.1f} W are allowed"
        return _Wish(cause=Cause.OVERCURRENT, level=max(1, level), duty=cap, reason=reason)

    def _hot(self, sensed: Sensed, gap_s: float, *, throttles: bool) -> _Wish:
        nearest = sensed.nearest
        if nearest is None:
            return self._hot_blind(throttles=throttles, is_fault=bool(sensed.faults))
        ahead = min(nearest.margin_celsius, nearest.ahead_celsius(HORIZON_S))
        duty = self._pace.update(
            ahead_celsius=nearest.ahead_celsius(HORIZON_S),
            margin_celsius=nearest.margin_celsius,
            raw_celsius=nearest.raw_margin_celsius,
            gap_s=gap_s,
        )
        self._hot_level = self._level(ahead, nearest.margin_celsius, duty)
        reason = f"{nearest.name} is {nearest.raw_margin_celsius:.1f} K below its limit"
        if throttles:
            self._pace.throttled(nearest.margin_celsius)
            self._hot_level, duty = CoolingState.CLOSED.level, LEAST_DUTY
            reason = f"the board throttles for heat; {reason}"
        return _Wish(cause=Cause.HOT, level=self._hot_level, duty=duty, reason=reason)

    def _hot_blind(self, *, throttles: bool, is_fault: bool) -> _Wish:
        """Without a temperature. What was hot may still be; but nobody is refused for what nobody sees."""
        if throttles:
            self._hot_level = CoolingState.CLOSED.level
            return _Wish(cause=Cause.HOT, level=3, duty=LEAST_DUTY, reason="the board throttles")
        self._hot_level = min(self._hot_level, CoolingState.HOLDING.level) if is_fault else 0
        return _Wish(cause=Cause.SENSOR_FAULT, level=self._hot_level, duty=1.0, reason=self._fault_reason)

    def _level(self, ahead: float, margin: float, duty: float) -> int:
        """With hysteresis: `self._hot_level` is what was wanted before. `ahead` is at most `margin`."""
        level = self._hot_level
        is_worst = margin <= 0 or (duty <= LEAST_DUTY and margin < self._pace.target_celsius / 4)
        if is_worst or (level == 3 and margin < _NEAR_CELSIUS):
            return 3
        is_bad = duty <= _HOLD_DUTY or margin < self._pace.target_celsius / 4
        if is_bad or (level >= 2 and (duty < _HOLD_DUTY_ENDS or margin < self._pace.target_celsius)):
            return 2
        if ahead < SOFT_CELSIUS or (level >= 1 and (ahead < _COOL_CELSIUS or duty < 1.0)):
            return 1
        return 0

    def _fault(self, sensed: Sensed, at_s: float) -> _Wish:
        if sensed.faults:
            self._fault_at_s, self._fault_reason = at_s, "; ".join(sensed.faults)
        is_recent = self._fault_at_s is not None and at_s - self._fault_at_s < _RECOVERED_S
        if not is_recent:
            return _Wish(cause=Cause.SENSOR_FAULT, level=0, duty=1.0, reason="")
        duty = min(SAFE_DUTY, self._pace.bearable_duty)
        return _Wish(cause=Cause.SENSOR_FAULT, level=1, duty=duty, reason=self._fault_reason)

    def _throttler(self, look: Look, nearest: Nearest | None) -> Cause | None:
        """Who throttles, if anybody does."""
        power = look.power
        alerts = [device for device in look.thermal.cooling_devices if device.is_throttling]
        if not (alerts or power.is_throttled or power.soft_limit or power.frequency_capped):
            return None
        if power.under_voltage or self._under_voltage.complained_within(_BLAME_S, look.at_s):
            return Cause.UNDERVOLTAGE
        if power.soft_limit and not (alerts or power.is_throttled):
            return None  # the firmware's way of slowing down a little: the pace does the rest
        is_far = nearest is not None and nearest.raw_margin_celsius >= _FAR_CELSIUS
        return Cause.OVERCURRENT if is_far else Cause.HOT

    # ── what comes of it ───────────────────────────────────────────────────────────────────────────────────

    def _cooling(
        self, look: Look, sensed: Sensed, state: CoolingState, duty: float, wishes: list[_Wish]
    ) -> Cooling:
        nearest = sensed.nearest
        cause, reason = self._why(state, wishes, sensed)
        margin = None if nearest is None else nearest.margin_celsius
        is_quick = margin is not None and margin < _NEAR_CELSIUS
        return Cooling(
            state=state,
            cause=cause,
            reason=reason,
            limits=self._limits(state, duty, nearest, look.at_s),
            zones=sensed.zones,
            margin_celsius=None if nearest is None else nearest.raw_margin_celsius,
            slope_celsius_per_s=None if nearest is None else nearest.slope_celsius_per_s,
            input_watts=look.power.input_watts,
            is_throttled=_is_throttled(look),
            is_under_voltage=look.power.under_voltage,
            changes=self._ladder.changes,
            next_look_s=_QUICK_LOOK_S if is_quick else _SLOW_LOOK_S,
        )

    def _why(self, state: CoolingState, wishes: list[_Wish], sensed: Sensed) -> tuple[Cause, str]:
        """The strictest wish's, the first of equals. While a state only lasts out its time, its own cause."""
        strictest = max(wishes, key=lambda wish: (wish.level, -wish.duty))
        if strictest.level > 0:
            return strictest.cause, strictest.reason
        nearest = sensed.nearest
        now = "no sensors"
        if nearest is not None:
            now = f"{nearest.name} is {nearest.raw_margin_celsius:.1f} K below its limit"
        if state in {CoolingState.NORMAL, CoolingState.PACED}:  # a pace that limits nothing
            return Cause.OK, now
        return self.cooling.cause, f"it recovers; {now}"

    def _limits(self, state: CoolingState, duty: float, nearest: Nearest | None, at_s: float) -> EngineLimits:
        if state is CoolingState.NORMAL:
            return EngineLimits()
        is_holding = state in {CoolingState.HOLDING, CoolingState.CLOSED}
        is_closed = state is CoolingState.CLOSED
        return EngineLimits(
            token_budget=_token_budget(state, duty, nearest),
            duty=duty,
            hold_background=is_holding,
            prefer_sibling=is_holding and self._policy.prefers_sibling,
            admit=not is_closed,
            retry_after_s=self._retry_after_s(nearest, at_s) if is_closed else 0.0,
        )

    def _retry_after_s(self, nearest: Nearest | None, at_s: float) -> float:
        """Until the zone is cool enough at its present pace, and the state has dwelt."""
        low, high = _RETRY_S
        cooling_s = 0.0
        if nearest is not None and nearest.margin_celsius < _NEAR_CELSIUS:
            fall = max(-nearest.slope_celsius_per_s, 0.05)
            cooling_s = (_NEAR_CELSIUS - nearest.margin_celsius) / fall
        return max(low, min(high, cooling_s + self._ladder.wait_s(at_s)))


class _Supply:
    """One kind of complaint: the cap, and whether it helps."""

    def __init__(self) -> None:
        self._cap = SupplyCap()
        self._complained_at_s: float | None = None
        self._at_least_since_s: float | None = None

    def complained_within(self, seconds: float, at_s: float) -> bool:
        return self._complained_at_s is not None and at_s - self._complained_at_s < seconds

    def update(self, *, complains: bool, at_s: float, gap_s: float) -> tuple[int, float]:
        """Level and duty. Closing helps no supply: at most background is held."""
        duty = self._cap.update(complains=complains, at_s=at_s, gap_s=gap_s)
        if complains:
            self._complained_at_s = at_s
        if not (complains and duty <= LEAST_DUTY):
            self._at_least_since_s = None
        elif self._at_least_since_s is None:
            self._at_least_since_s = at_s
        is_useless = self._at_least_since_s is not None and at_s - self._at_least_since_s >= _PERSISTS_S
        if is_useless or (complains and duty <= _HOLD_DUTY):
            return 2, duty
        return (1 if complains or duty < 1.0 else 0), duty


def _token_budget(state: CoolingState, duty: float, nearest: Nearest | None) -> int | None:
    """Continuous in the margin, and at its small size before the first pause."""
    if state is CoolingState.CLOSED:
        return _CLOSED_TOKENS
    if state is CoolingState.HOLDING:
        return _HOLDING_TOKENS
    if duty < 1.0:
        return SMALL_TOKENS
    share = 1.0
    if nearest is not None:
        share = (nearest.margin_celsius - _NEAR_CELSIUS) / (SOFT_CELSIUS - _NEAR_CELSIUS)
    return None if share >= 1.0 else SMALL_TOKENS + int((WIDE_TOKENS - SMALL_TOKENS) * max(0.0, share))


def _is_throttled(look: Look) -> bool | None:
    devices = [device for device in look.thermal.cooling_devices if device.is_throttle_alert]
    told = [device.state is not None and device.state > 0 for device in devices]
    if look.power.is_throttled is not None:
        told.append(look.power.is_throttled)
    return any(told) if told else None
