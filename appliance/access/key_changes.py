"""What is done to keys, told to who keeps a record of it.

create, edit, rotate   recorded first: a right that nobody can trace must not come into being. Where the
                       change itself then fails, a second entry says so; without one, a cut of power may
                       have come between entry and change.
revoke                 done first, then noted: taking a right away waits for no log, and for no disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from appliance.access.scopes import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    verb: str
    """create | edit | rotate | revoke"""
    key_id: str
    by: str
    """The id of the key that asked, or the address; `user NAME` of this machine; empty: ourselves."""
    scopes: frozenset[Scope] = frozenset()
    """What the key may, afterwards."""


class ChangeLog(Protocol):
    """Called from any thread, one at a time."""

    def intend(self, change: KeyChange) -> None:
        """Durable when it returns. Raises AuditUnwritable; then it is not done."""

    def failed(self, change: KeyChange) -> None:
        """It was intended, and could not be done."""

    def done(self, change: KeyChange) -> bool:
        """Whether it could be written down."""


class NoLog:
    """Keeps nothing: none is wished."""

    def intend(self, change: KeyChange) -> None: ...

    def failed(self, change: KeyChange) -> None: ...

    def done(self, _change: KeyChange) -> bool:
        return True
