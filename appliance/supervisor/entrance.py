"""How handler threads get in line, and ask who waits: the half of the supervisor that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from appliance.errors import DeadlineExceeded, ModelLoading, ModelNotFound, OutpostError, Overloaded
from appliance.supervisor.client import Runner
from appliance.supervisor.effects import Waiter
from appliance.supervisor.faults import fresh
from appliance.supervisor.patience import Patience
from appliance.supervisor.pending import First, Pending
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.states import RunnerState
from appliance.supervisor.ticket import Ticket
from appliance.supervisor.turn import Asker, Waiting
from appliance.supervisor.waiting_room import WaitingRoom
from appliance.wire.messages import Request

if TYPE_CHECKING:
    from appliance.supervisor.catalog import Catalog
    from appliance.supervisor.status import Published

GRACE_S = 1.0
"""A deadline ends the wait in the queue; only where nobody sees to it, the one who waits does."""
_ANSWER_S = 5.0
_LOADING_RETRY_S = 5.0
_MAX_NAME = 256
"""Characters of an unknown name that an answer repeats."""


class Loop(Protocol):
    """What it needs of the loop thread."""

    @property
    def catalog(self) -> Catalog[Runner]:
        """To be used in events only."""

    def post(self, event: Callable[[float], None], /) -> None: ...

    def admit(self, ticket: Ticket, asked: str, now_s: float) -> None:
        """To the desk of its model, unless no request is let in. In events only."""

    def picture(self) -> Mapping[str, Published]: ...

    def key_of(self, model: str) -> str: ...


class Entrance:
    """Implements `pending.Queue`. Stateless; any thread."""

    def __init__(self, room: WaitingRoom[Waiter[Runner]], loop: Loop, policy: QueuePolicy) -> None:
        """`room` is touched on the loop thread only."""
        self._room = room
        self._loop = loop
        self._policy = policy

    def join(self, model: str, request: Request, first: type[First], *, asker: Asker) -> Pending[First]:
        """Get in line. `first`: what the runner answers first when all is well."""
        ticket, patience = self._line_up(model, asker)
        return Pending(ticket, request, first, queue=self, patience=patience)

    def load(self, model: str, *, asker: Asker) -> None:
        """Wait until its turn comes, and ask nothing."""
        ticket, patience = self._line_up(model, asker)
        try:
            answer = patience.wait(ticket.wait)
        finally:
            self.release(ticket, succeeded=True)
        if answer is None:
            raise self.impatient(ticket)
        if isinstance(answer, OutpostError):
            raise fresh(answer)

    def _line_up(self, model: str, asker: Asker) -> tuple[Ticket, Patience]:
        ticket = Ticket(
            model=self._loop.key_of(model),
            owner=asker.owner,
            turn=asker.turn,
            keep_alive_s=asker.keep_alive_s,
        )
        limit_s = ticket.turn.deadline_s
        patience_s = self._policy.patience_s if limit_s is None else limit_s + GRACE_S
        asked = model[:_MAX_NAME]
        self._loop.post(lambda now_s: self._loop.admit(ticket, asked, now_s))
        return ticket, Patience(patience_s, asker.gone)

    def release(self, ticket: Ticket, *, succeeded: bool) -> None:
        self._loop.post(
            lambda now_s: self._loop.catalog.release(ticket.model, ticket, now_s, succeeded=succeeded)
        )

    def tell_standing(self, ticket: Ticket) -> None:
        self._loop.post(lambda now_s: self._tell(ticket.model, now_s))

    def impatient(self, ticket: Ticket) -> OutpostError:
        published = self._loop.picture().get(ticket.model)
        if published is None:
            return self.not_found(ticket.model)
        if published.state is RunnerState.READY:
            return Overloaded(
                waiting=published.waiting,
                limit=self._policy.max_waiting,
                retry_after_s=published.retry_after_s,
            )
        return ModelLoading(
            model=published.spec.name, waited_s=self._policy.patience_s, retry_after_s=_LOADING_RETRY_S
        )

    def not_found(self, model: str) -> ModelNotFound:
        known = sorted(published.spec.name for published in self._loop.picture().values())
        return ModelNotFound(model=model[:_MAX_NAME], available=known)

    def waiting(self, owner: str | None) -> Sequence[Waiting]:
        """All who wait, or those of `owner`; of each model in turn. Raises DeadlineExceeded where the loop
        does not answer.
        """
        box: SimpleQueue[list[Waiting]] = SimpleQueue()
        self._loop.post(lambda now_s: box.put(self._room.listing(now_s, owner=owner)))
        try:
            return box.get(timeout=_ANSWER_S)
        except Empty as error:
            raise DeadlineExceeded(limit_s=_ANSWER_S) from error

    def _tell(self, key: str, now_s: float) -> None:
        desk = self._loop.catalog.desks.get(key)
        if desk is not None:
            desk.waiting.tell_again(now_s)
