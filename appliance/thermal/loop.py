"""The thread that looks at the board and tells what the governor decides. Flow: heat.

    zones, rails, flags ─▶ Governor.update ─▶ `on_cooling` (when the measures change) ─▶ supervisor, runners

It looks once a second, four times where a zone is near its limit, every ten seconds where there is nothing
to see. A look reads some dozens of small files; what it costs is counted (`cpu_s`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from appliance import log
from appliance.hardware import power, thermal_zones
from appliance.hardware.root import Root
from appliance.thermal.governor import Governor
from appliance.thermal.values import Cooling, CoolingState, EngineLimits, HeatPolicy, Look

_log = log.logger("heat")

_COMPATIBLE: Final = "sys/firmware/devicetree/base/compatible"
_NOTHING_TO_SEE_S: Final = 10.0
_LEAST_CHANGE: Final = 0.01
"""Of the duty: smaller steps are not worth a message."""
_JOIN_S: Final = 5.0


def is_raspberry_pi(root: Root) -> bool:
    names = root.strings(_COMPATIBLE)
    return isinstance(names, tuple) and any(name.startswith("raspberrypi,") for name in names)


class Clock:
    """Time, as the thread knows it."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, is_stopped: threading.Event, seconds: float) -> bool:
        """True as soon as it is stopped."""
        return is_stopped.wait(seconds)


class ThermalLoop:
    """`start`, `stop`, `cooling`, `cpu_s` from any thread; the rest belongs to the thread `thermal`."""

    def __init__(
        self,
        root: Root,
        policy: HeatPolicy,
        *,
        on_cooling: Callable[[Cooling], None],
        is_busy: Callable[[], bool | None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """`on_cooling` must not block. `clock`: the board's time."""
        self.cooling = Cooling()
        """The last decision: frozen."""
        self.cpu_s = 0.0
        """CPU time of all looks."""
        self.looks = 0
        self._root = root
        self._governor = Governor(policy)
        self._on_cooling = on_cooling
        self._is_busy = is_busy
        self._clock = clock or Clock()
        self._told = EngineLimits()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="thermal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended. Idempotent; also before `start`."""
        self._is_stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    # ── the thread ─────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        wait_s = 0.0
        while not self._clock.wait(self._is_stopped, wait_s):
            try:
                wait_s = self.look()
            except Exception:  # noqa: BLE001  # thread top: one bad look must not end the watch
                _log.exception("heat_look_failed")
                wait_s = _NOTHING_TO_SEE_S

    def look(self) -> float:
        """One look; returns after how many seconds the next is wanted."""
        began_s = time.thread_time()
        look = Look(
            at_s=self._clock.now_s(),
            thermal=thermal_zones.read(self._root),
            power=power.read(self._root),
            is_busy=self._is_busy(),
        )
        before, after = self.cooling, self._governor.update(look)
        self.cooling = after
        if after.state is not before.state or after.cause is not before.cause:
            _tell(before, after)
        if _differ(self._told, after.limits):
            self._told = after.limits
            self._on_cooling(after)
        self.cpu_s += time.thread_time() - began_s
        self.looks += 1
        return after.next_look_s if _sees_anything(look) else _NOTHING_TO_SEE_S


def _sees_anything(look: Look) -> bool:
    flags = (look.power.under_voltage, look.power.is_throttled, look.power.input_watts)
    return bool(look.thermal.zones or look.power.rails) or any(flag is not None for flag in flags)


def _differ(told: EngineLimits, now: EngineLimits) -> bool:
    if abs(told.duty - now.duty) >= _LEAST_CHANGE or (now.duty >= 1.0) != (told.duty >= 1.0):
        return True
    return _without_duty(told) != _without_duty(now)


def _without_duty(limits: EngineLimits) -> tuple[object, ...]:
    retry_after_s = round(limits.retry_after_s, -1)
    budget = None if limits.token_budget is None else limits.token_budget // 16
    return (budget, limits.hold_background, limits.prefer_sibling, limits.admit, retry_after_s)


def _tell(before: Cooling, after: Cooling) -> None:
    """The canonical line of a change of the state or its cause."""
    if before == Cooling() and after.state is CoolingState.NORMAL:
        return  # the first look, and all is well
    say = _log.info if after.state is CoolingState.NORMAL else _log.warning
    say(
        "cooling_changed",
        state=after.state.value,
        was=before.state.value,
        cause=after.cause.value,
        reason=after.reason,
        margin_celsius=None if after.margin_celsius is None else round(after.margin_celsius, 1),
        duty=round(after.limits.duty, 2),
        token_budget=after.limits.token_budget,
        admits=after.limits.admit,
    )
