"""What heat asks of the supervisor: limits for all runners, also for those that come, and no new requests.

The governor (`thermal/`) decides; who builds the daemon translates. Here it is kept and carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from appliance.errors import OutpostError, Throttled
from appliance.supervisor.names import Resolve
from appliance.wire.messages import Ready, SetLimits

UNLIMITED = SetLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingOrder:
    """All measures that are in force now."""

    limits: SetLimits = UNLIMITED
    hold_background: bool = False
    """Requests of the class background stay in the queue."""
    siblings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Models, by name, whose smaller sibling answers instead now."""
    refusal: Throttled | None = None
    """What new requests are told; None: they are let in."""


class LimitedRunner(Protocol):
    @property
    def ready(self) -> Ready | None: ...

    def set_limits(self, limits: SetLimits) -> None: ...


class HasRunner(Protocol):
    @property
    def runner(self) -> LimitedRunner | None: ...


class Answerable(Protocol):
    def answer(self, answer: OutpostError, /) -> None: ...


class CoolingDesk:
    """Owned by the supervisor thread; `order` is read by any."""

    def __init__(self) -> None:
        self.order = CoolingOrder()

    def take(self, order: CoolingOrder, desks: Iterable[HasRunner]) -> None:
        """To all runners that are ready; the others are greeted with it."""
        is_news = order.limits != self.order.limits
        self.order = order
        if not is_news:
            return
        for desk in desks:
            if desk.runner is not None and desk.runner.ready is not None:
                desk.runner.set_limits(order.limits)

    def greet(self, runner: LimitedRunner) -> None:
        """It has just become ready and knows of no limits."""
        if self.order.limits != UNLIMITED:
            runner.set_limits(self.order.limits)

    def stand_in(self, model: str, resolve: Resolve) -> str | None:
        """Any thread. Of one step only: who stands in has no stand-in."""
        siblings = self.order.siblings
        key = resolve(model) if siblings else model
        return next((small for name, small in siblings.items() if resolve(name) == key), None)

    def refuses(self, ticket: Answerable) -> bool:
        """Whether a new request has been answered with the refusal that is in force."""
        if self.order.refusal is None:
            return False
        ticket.answer(self.order.refusal)
        return True
