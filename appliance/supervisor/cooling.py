"""What heat asks of the supervisor: limits for all runners, also for those that come, and no new requests.

The governor (`thermal/`) decides; who builds the daemon translates. Here it is kept and carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from appliance.errors import Throttled
from appliance.wire.messages import SetLimits

UNLIMITED = SetLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingOrder:
    """All measures that are in force now."""

    limits: SetLimits = UNLIMITED
    hold_background: bool = False
    """Requests of the class background stay in the queue."""
    prefer_sibling: bool = False
    """A model with a smaller sibling lets that one answer."""
    refusal: Throttled | None = None
    """What new requests are told; None: they are let in."""


class TakesLimits(Protocol):
    def set_limits(self, limits: SetLimits) -> None: ...


@dataclass(slots=True)
class CoolingDesk:
    """Written by the supervisor thread; `order` is read by any."""

    order: CoolingOrder = field(default_factory=CoolingOrder)

    def take(self, order: CoolingOrder, runners: Iterable[TakesLimits]) -> None:
        is_news = order.limits != self.order.limits
        self.order = order
        if is_news:
            for runner in runners:
                runner.set_limits(order.limits)

    def greet(self, runner: TakesLimits) -> None:
        """A runner that has just become ready: it knows of no limits."""
        if self.order.limits != UNLIMITED:
            runner.set_limits(self.order.limits)
