"""The requests that a runner has and that have no end yet, by id; after its end, why there are none."""

from __future__ import annotations

import threading
from typing import Final

from appliance.errors import OutpostError
from appliance.supervisor.faults import fresh
from appliance.supervisor.mailbox import Mailbox
from appliance.wire.channel import ProtocolError

MOST_OPEN: Final = 4096
"""Requests a runner may leave without an end; those of live callers are far fewer
(`QueuePolicy.max_running`)."""


class OpenRequests:
    """`enter`, `listed` and `in` from any thread; the others belong to the runner's reader thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the entering of mailboxes against the end; the reader's lookups need no lock."""
        self._mailboxes: dict[int, Mailbox] = {}
        self._fault: OutpostError | None = None

    def enter(self, mailbox: Mailbox) -> bool:
        """False: there are more than a sane runner leaves open. Raises the runner's fault when it has
        ended.
        """
        with self._lock:
            if self._fault is not None:
                raise fresh(self._fault)
            self._mailboxes[mailbox.id] = mailbox
            return len(self._mailboxes) <= MOST_OPEN

    def leave(self, mailbox: Mailbox) -> None:
        self._mailboxes.pop(mailbox.id, None)

    def get(self, request_id: int) -> Mailbox:
        mailbox = self._mailboxes.get(request_id)
        if mailbox is None:
            raise ProtocolError(f"news of the unknown request {request_id}")
        return mailbox

    def listed(self) -> list[Mailbox]:
        with self._lock:
            return list(self._mailboxes.values())

    def fail(self, error: OutpostError) -> None:
        """The end of all of them, and of those that would come."""
        with self._lock:
            self._fault = error
            orphans = list(self._mailboxes.values())
            self._mailboxes.clear()
        for mailbox in orphans:
            mailbox.put_error(error)

    def __contains__(self, mailbox: Mailbox) -> bool:
        return mailbox.id in self._mailboxes

    def __len__(self) -> int:
        return len(self._mailboxes)
