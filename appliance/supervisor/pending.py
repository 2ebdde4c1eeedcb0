"""A request on its way through the queue: from its ticket to the first answer of a runner.

ticket ──▶ in line ──▶ lease ──▶ sent to the runner ──▶ Accepted, or a Result
              └─ refused, displaced, expired, impatient     └─ refused by the runner, or it died
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from appliance.errors import DeadlineExceeded, EngineFault, OutpostError
from appliance.supervisor.client import Runner
from appliance.supervisor.faults import fresh
from appliance.supervisor.generation import RunningGeneration
from appliance.supervisor.patience import Patience
from appliance.wire.messages import Accepted, Request, Result

if TYPE_CHECKING:
    from appliance.supervisor.mailbox import Mailbox
    from appliance.supervisor.ticket import Ticket
    from appliance.supervisor.turn import Standing

First = TypeVar("First", Accepted, Result)


class Queue(Protocol):
    """What it needs of the supervisor. Never blocks."""

    def release(self, ticket: Ticket, *, succeeded: bool) -> None: ...

    def tell_standing(self, ticket: Ticket) -> None:
        """Have `ticket.standing` renewed soon."""

    def impatient(self, ticket: Ticket) -> OutpostError:
        """Why it has waited in vain."""


class Pending(Generic[First]):
    """Owned by the thread that asked. The ticket is in line already."""

    def __init__(
        self, ticket: Ticket, request: Request, first: type[First], *, queue: Queue, patience: Patience
    ) -> None:
        """`patience` is for all of it."""
        self.ticket = ticket
        self.runner: Runner | None = None
        self.mailbox: Mailbox | None = None
        self._request = request
        self._first: type[First] = first
        self._queue = queue
        self._patience = patience
        self._began_s = time.monotonic()
        self._is_over = False

    def result(self) -> First:
        """Wait for the first answer. Raises every fault known before work starts, and ClientGone."""
        while (found := self.next(self._patience.next_look_s)) is None:
            pass
        return found

    def next(self, timeout_s: float) -> First | None:
        """The first answer, if it comes within `timeout_s` or little more. Raises as `result` does."""
        try:
            found = self._step(timeout_s)
            if found is None:
                self._patience.ask_whether_gone()
                self._ask_whether_late()
        except BaseException:
            self.close()
            raise
        return found

    def standing(self) -> Standing | None:
        """Where it stands, as of a moment ago; None once it is its turn."""
        if self.mailbox is not None:
            return None
        self._queue.tell_standing(self.ticket)
        return self.ticket.standing

    def release(self, *, succeeded: bool) -> None:
        """Give the lease back, by who has got his answer and all that follows."""
        self._queue.release(self.ticket, succeeded=succeeded)

    def close(self) -> None:
        """Leave the queue, or have the runner forget it. Idempotent; not for who has got his answer."""
        if self._is_over:
            return
        self._is_over = True
        if self.runner is not None and self.mailbox is not None:
            self.runner.cancel(self.mailbox)
        self.release(succeeded=False)

    def _step(self, timeout_s: float) -> First | None:
        if self.mailbox is None:
            answer = self.ticket.wait(timeout_s)
            if answer is None:
                return None
            self._note()
            if not isinstance(answer, Runner):
                raise fresh(answer)
            self.runner = answer
            self.mailbox = answer.open(self._request)
        item = self.mailbox.take(timeout_s)
        if item is None or isinstance(item, self._first):
            return item
        raise EngineFault(reason=f"{type(item).__name__} came before {self._first.__name__}")

    def _note(self) -> None:
        turn = self.ticket.turn
        turn.waited_s = time.monotonic() - self._began_s
        turn.arrived_at = self.ticket.first_standing

    def _ask_whether_late(self) -> None:
        if not self._patience.is_over:
            return
        limit_s = self.ticket.turn.deadline_s
        if self.mailbox is not None:
            waited_s = time.monotonic() - self._began_s
            raise DeadlineExceeded(limit_s=waited_s if limit_s is None else limit_s)
        if limit_s is not None:
            raise DeadlineExceeded(limit_s=limit_s, is_begun=False)
        raise self._queue.impatient(self.ticket)


class PendingGeneration:
    """Implements `inference.Pending`. Owned by the thread that asked."""

    def __init__(self, pending: Pending[Accepted]) -> None:
        self._pending = pending

    def result(self) -> RunningGeneration:
        return self._running(self._pending.result())

    def next(self, timeout_s: float) -> RunningGeneration | None:
        accepted = self._pending.next(timeout_s)
        return None if accepted is None else self._running(accepted)

    def standing(self) -> Standing | None:
        return self._pending.standing()

    def close(self) -> None:
        self._pending.close()

    def _running(self, accepted: Accepted) -> RunningGeneration:
        pending = self._pending
        assert pending.runner is not None
        assert pending.mailbox is not None
        return RunningGeneration(
            accepted=accepted,
            mailbox=pending.mailbox,
            runner=pending.runner,
            release=lambda succeeded: pending.release(succeeded=succeeded),
        )
