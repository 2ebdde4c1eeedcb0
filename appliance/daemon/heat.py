"""Heat in the daemon: the loop that watches the board, and the supervisor that does what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from appliance.config import Config
from appliance.errors import Throttled
from appliance.hardware.root import Root
from appliance.health.cooling import CoolingHealth
from appliance.supervisor.cooling import CoolingOrder
from appliance.supervisor.supervisor import Supervisor
from appliance.thermal.loop import ThermalLoop, is_raspberry_pi
from appliance.thermal.values import Cooling, HeatPolicy
from appliance.wire.messages import SetLimits


class Heat:
    """Owned by the main thread; `health` from any."""

    def __init__(self, config: Config, supervisor: Supervisor, *, sysroot: Path) -> None:
        root = Root(sysroot)
        siblings = dict(config.heat.siblings)
        self._loop: ThermalLoop | None = None
        if config.heat.enabled:
            self._loop = ThermalLoop(
                root,
                heat_policy(config, root),
                on_cooling=lambda cooling: supervisor.cool(order_of(cooling, siblings)),
                is_busy=lambda: any(model.running for model in supervisor.status()),
            )

    def start(self) -> None:
        if self._loop is not None:
            self._loop.start()

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    def health(self) -> CoolingHealth | None:
        """None: nobody watches."""
        if self._loop is None:
            return None
        return CoolingHealth.of(self._loop.cooling, looks=self._loop.looks, cpu_s=self._loop.cpu_s)


def heat_policy(config: Config, root: Root) -> HeatPolicy:
    heat = config.heat
    return HeatPolicy(
        power_budget_watts=heat.power_budget_watts or None,
        least_margin_celsius=heat.margin_celsius,
        prefers_sibling=bool(heat.siblings),
        is_raspberry_pi=is_raspberry_pi(root),
    )


def order_of(cooling: Cooling, siblings: Mapping[str, str]) -> CoolingOrder:
    limits = cooling.limits
    refusal = Throttled(reason=cooling.reason, retry_after_s=round(limits.retry_after_s, 1))
    return CoolingOrder(
        limits=SetLimits(token_budget=limits.token_budget, duty=round(limits.duty, 3)),
        hold_background=limits.hold_background,
        siblings=siblings if limits.prefer_sibling else {},
        refusal=None if limits.admit else refusal,
    )
