"""Changes of keys in the audit log: those of the daemon, and of the command where none runs."""

from __future__ import annotations

from typing import Final

from appliance.access.audit import Audit, Fact
from appliance.access.key_changes import KeyChange

EVENTS: Final = {
    "create": "key_created",
    "edit": "key_edited",
    "rotate": "key_rotated",
    "revoke": "key_revoked",
}
FAILED: Final = "key_change_failed"


class AuditedKeys:
    """A `ChangeLog`. Any thread."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def intend(self, change: KeyChange) -> None:
        """Raises AuditUnwritable."""
        self._audit.record(EVENTS[change.verb], change.by or "local", **_facts(change))

    def failed(self, change: KeyChange) -> None:
        self._audit.note(FAILED, change.by or "local", verb=change.verb, key=change.key_id)

    def done(self, change: KeyChange) -> bool:
        return self._audit.note(EVENTS[change.verb], change.by or "local", **_facts(change))


def _facts(change: KeyChange) -> dict[str, Fact]:
    told: dict[str, Fact] = {"key": change.key_id}
    return {**told, "scopes": sorted(change.scopes)} if change.scopes else told
