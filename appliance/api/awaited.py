"""A generation that is answered before it is accepted, for callers who asked for that.

The rule is that a status is sent when everything that can be refused has passed (flow 1). Who sends
`X-Outpost-Progress: 1` gives that up: his stream begins at once, says in comments where it stands, and tells
a later fault as its last event. What is refused within `FIRST_LOOK_S` has its true status all the same.
"""

from __future__ import annotations

from typing import Final

from appliance.api.exchange import Exchange
from appliance.supervisor.inference import Generation, Pending
from appliance.supervisor.turn import Standing
from appliance.wire.messages import Accepted, Delta, Progress

FIRST_LOOK_S: Final = 0.1


class Awaited:
    """Implements `Generation`, of which `accepted` is there once `is_accepted`. Owned by the request's
    thread.
    """

    def __init__(self, pending: Pending, exchange: Exchange) -> None:
        """Waits for up to `FIRST_LOOK_S`. Raises what is known by then."""
        self._pending = pending
        self._exchange = exchange
        self._generation: Generation | None = None
        self.look(FIRST_LOOK_S)
        if not self.is_accepted:
            exchange.turn.arrived_at = pending.standing()

    @property
    def is_accepted(self) -> bool:
        return self._generation is not None

    @property
    def accepted(self) -> Accepted:
        assert self._generation is not None
        return self._generation.accepted

    def look(self, timeout_s: float) -> None:
        """Wait for its turn. Raises as `Calls.ask` does."""
        generation, meter = self._pending.next(timeout_s), self._exchange.meter
        if generation is None:
            return
        self._generation = generation if meter is None else meter.metered(generation)
        self._exchange.mark_accepted(self._generation.accepted)

    def standing(self) -> Standing | None:
        return self._pending.standing()

    def next(self, timeout_s: float) -> list[Delta | Progress] | None:
        assert self._generation is not None
        return self._generation.next(timeout_s)

    def close(self) -> None:
        (self._generation or self._pending).close()
