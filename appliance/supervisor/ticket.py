"""A request's place in the queue; once granted, its lease on a runner."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Union

from appliance.errors import OutpostError
from appliance.supervisor.turn import Standing, Turn

if TYPE_CHECKING:
    from appliance.supervisor.client import Runner

Answer = Union["Runner", OutpostError]


class Ticket:
    """Made and waited for by a handler thread; answered once, by the supervisor thread. Compared by
    identity.
    """

    def __init__(
        self, *, model: str, owner: str, turn: Turn | None = None, keep_alive_s: float | None = None
    ) -> None:
        """`keep_alive_s`: how long the model stays in memory after this request; None: as long as usual."""
        self.model = model
        self.owner = owner
        self.keep_alive_s = keep_alive_s
        self.turn = turn or Turn()
        """Of which the supervisor thread reads the wishes only."""
        self.arrived_s: float | None = None
        """This and the next: written and read by the supervisor thread."""
        self.granted_at_s = 0.0
        self.first_standing: Standing | None = None
        """When it came. This and the next: written by the supervisor thread, read by any; None: it has not
        waited.
        """
        self.standing: Standing | None = None
        self._answer: SimpleQueue[Answer] = SimpleQueue()

    def answer(self, answer: Answer) -> None:
        self._answer.put(answer)

    def wait(self, timeout_s: float) -> Answer | None:
        """The answer, or None when there was none in time."""
        try:
            return self._answer.get(timeout=timeout_s)
        except Empty:
            return None
