"""All keys: those of the database, which can be changed, and those of the configuration, which cannot.

A request is checked against an immutable ring in memory, which is swapped whole once a change is durable: no
request waits for the disk, and none after the answer to a change meets the keys of before.

    no key at all           on loopback the door stands open; elsewhere only health and the claim answer
    any, also if ended      every request needs one: to revoke the last opens nothing; so the first may make
                            others (keys:admin), unless somebody insists
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance import log
from appliance.access.database import KeyDatabase
from appliance.access.grants import Grant
from appliance.access.key_changes import ChangeLog, KeyChange, NoLog
from appliance.access.keys import NO_SHA256, KeyRing, KeyState, StoredKey, generate
from appliance.access.last_used import LastUsed
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey, EditKey, RotateKey, applied, drafted
from appliance.errors import (
    FirstKeyNeedsAdmin,
    KeyNotFound,
    KeysUnusable,
    LastAdminKey,
    NotAllowed,
    Unauthenticated,
)

_log = log.logger("access")

MOST_KEYS: Final = 10_000
UNNOTED: Final = (
    "it is revoked, and the audit log could not take it: free space on the disk of the data directory, or "
    "repair it"
)
MOST_REVOKED: Final = 1_000
"""Kept so that a list of them tells what there was; the oldest go first."""
_UNCLAIMED: Final = (
    "this Outpost has no keys yet; claim it with `outpost keys claim` and what stands on its console, then"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKey:
    """A key as it is listed."""

    key_id: str
    key: StoredKey
    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A key with its text, which is shown once."""

    text: str
    shown: ShownKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedKey:
    """A key that holds no more."""

    shown: ShownKey
    is_noted: bool
    """False: the audit log could not take it, which has to be said."""


Changed = Callable[[KeyChange], None]


class KeyStore:
    """Any thread. Changes take the lock, one at a time; checks read the ring."""

    def __init__(
        self,
        directory: Path,
        *,
        configured: Mapping[str, StoredKey],
        is_always_needed: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`is_always_needed`: others than this machine can reach the door, or it is to be claimed first.
        Raises KeysUnusable.
        """
        self._configured = dict(configured)
        self._is_always_needed = is_always_needed
        self._now = now
        self._lock = threading.Lock()
        self._used = LastUsed()
        self._listeners: list[Changed] = []
        self._log: ChangeLog = NoLog()
        self._unwritten: dict[str, bool] = {}
        """Keys that are revoked, and not yet so on the disk; whether the audit log has it."""
        self._database = KeyDatabase(directory)
        try:
            self._stored = self._database.load()
        except BaseException:
            self._database.close()
            raise
        self._ring = self._ring_of(self._stored)

    # ── checks ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ring(self) -> KeyRing:
        return self._ring

    def is_needed(self) -> bool:
        """Whether requests need a key."""
        return self._is_always_needed or bool(self._ring)

    def verify(self, bearer: str | None) -> Grant:
        """Raises Unauthenticated."""
        ring = self._ring
        if not bearer and not ring:
            raise Unauthenticated(reason=_UNCLAIMED)
        grant = ring.verify(bearer)
        self._used.note(grant.key_id, ring.now_s())
        return grant

    def list(self) -> list[ShownKey]:
        """The newest last, those of the configuration first."""
        ring = self._ring
        found = [self._shown(ring, key_id, key) for key_id, key in ring.keys.items()]
        return sorted(found, key=lambda one: (one.key.created_s or 0.0, one.key_id))

    def show(self, key_id: str) -> ShownKey:
        """Raises KeyNotFound."""
        ring = self._ring
        if key_id not in ring.keys:
            raise KeyNotFound(key_id=key_id[:64])
        return self._shown(ring, key_id, ring.keys[key_id])

    # ── changes ────────────────────────────────────────────────────────────────────────────────────────────

    def log_to(self, kept: ChangeLog) -> None:
        """Before the first request: every change is written down there."""
        self._log = kept

    def listen(self, changed: Changed) -> None:
        """Before the first request; `changed` is called from any thread, when the change is durable."""
        self._listeners.append(changed)

    def create(self, wish: CreateKey, *, by: str = "") -> MadeKey:
        """Durable when it returns. Raises FirstKeyNeedsAdmin, NotAllowed, AuditUnwritable,
        KeysUnusable.
        """
        with self._lock:
            if len(self._ring.keys) >= MOST_KEYS:
                raise NotAllowed(reason=f"there are {MOST_KEYS} keys, and no more are kept; revoke some")
            made = generate()
            while made.key_id in self._ring.keys:
                made = generate()
            key = drafted(wish, sha256=made.sha256, now_s=self._ring.now_s())
            if not self._ring and not wish.force and Scope.KEYS_ADMIN not in key.scopes:
                raise FirstKeyNeedsAdmin
            change = self._put_recorded("create", made.key_id, key, by)
        return MadeKey(text=made.text, shown=self._told(change))

    def edit(self, key_id: str, wish: EditKey, *, by: str = "") -> ShownKey:
        """Raises KeyNotFound, NotAllowed, LastAdminKey, AuditUnwritable, KeysUnusable."""
        with self._lock:
            key = applied(wish, self._changeable(key_id), now_s=self._ring.now_s())
            self._require_admins(key_id, key, force=wish.force)
            change = self._put_recorded("edit", key_id, key, by)
        return self._told(change)

    def rotate(self, key_id: str, wish: RotateKey, *, by: str = "") -> MadeKey:
        """Raises KeyNotFound, NotAllowed, AuditUnwritable, KeysUnusable."""
        with self._lock:
            key, made = self._changeable(key_id), generate(key_id)
            until_s = self._ring.now_s() + wish.grace_s if wish.grace_s else 0.0
            previous = key.sha256 if wish.grace_s else NO_SHA256
            turned = replace(key, sha256=made.sha256, previous_sha256=previous, previous_until_s=until_s)
            change = self._put_recorded("rotate", key_id, turned, by)
        return MadeKey(text=made.text, shown=self._told(change))

    def revoke(self, key_id: str, *, force: bool = False, by: str = "") -> RevokedKey:
        """For good, and at once; where it cannot be written (KeysUnusable) while this process runs, and
        that is tried again. Raises KeyNotFound, NotAllowed, LastAdminKey, KeysUnusable.
        """
        with self._lock:
            if key_id not in self._unwritten:
                key = replace(self._changeable(key_id), revoked_s=self._ring.now_s())
                self._require_admins(key_id, key, force=force)
                self._hold(key_id, key)
            change = KeyChange(verb="revoke", key_id=key_id, by=by)
            is_noted = self._unwritten.get(key_id, False) or self._log.done(change)
            self._unwritten[key_id] = is_noted
            self._write_revoked()
            with suppress(KeysUnusable):  # the next one does it
                self._forget_oldest()
        return RevokedKey(shown=self._told(change), is_noted=is_noted)

    def write_used(self) -> None:
        """What is not on the disk yet, when keys were used and which are revoked; tried again where it
        fails.
        """
        taken = {key_id: used_s for key_id, used_s in self._used.take().items() if key_id in self._stored}
        if not taken and not self._unwritten:
            return
        try:
            with self._lock:
                self._write_revoked()
                self._database.note_used(taken)
                self._stored = {
                    key_id: replace(key, last_used_s=taken.get(key_id, key.last_used_s))
                    for key_id, key in self._stored.items()
                }
                self._ring = self._ring_of(self._stored)
        except KeysUnusable as error:
            self._used.give_back(taken)
            _log.warning("last_use_unwritten", reason=error.message)

    def close(self) -> None:
        self.write_used()
        with self._lock:
            self._database.close()

    # ── under the lock ─────────────────────────────────────────────────────────────────────────────────────

    def _changeable(self, key_id: str) -> StoredKey:
        if key_id in self._configured:
            raise NotAllowed(reason=f"{key_id} stands in [access.keys] of the configuration: change it there")
        key = self._stored.get(key_id)
        if key is None:
            raise KeyNotFound(key_id=key_id[:64])
        if key.revoked_s is not None:
            raise NotAllowed(reason=f"{key_id} has been revoked, which is for good; create another key")
        return key

    def _require_admins(self, key_id: str, key: StoredKey, *, force: bool) -> None:
        after = self._ring_of({**self._stored, key_id: key})
        if not force and self._ring.admins() and not after.admins():
            raise LastAdminKey(key_id=key_id)

    def _put_recorded(self, verb: str, key_id: str, key: StoredKey, by: str) -> KeyChange:
        change = KeyChange(verb=verb, key_id=key_id, by=by, scopes=key.scopes)
        self._log.intend(change)
        try:
            self._put(key_id, key)
        except BaseException:
            self._log.failed(change)
            raise
        return change

    def _put(self, key_id: str, key: StoredKey) -> None:
        self._database.put(key_id, key)
        self._hold(key_id, key)

    def _write_revoked(self) -> None:
        """Raises KeysUnusable, which says that they are refused all the same."""
        for key_id in sorted(self._unwritten):
            try:
                self._database.put(key_id, self._stored[key_id])
            except KeysUnusable as error:
                told = error.fields
                remedy = (
                    f"{key_id} is refused while this process runs, but not yet for good, which is tried "
                    f"again at the latest when it is revoked once more; {told['remedy']}"
                )
                raise KeysUnusable(path=told["path"], reason=told["reason"], remedy=remedy) from error
            del self._unwritten[key_id]

    def _hold(self, key_id: str, key: StoredKey) -> None:
        self._stored = {**self._stored, key_id: key}
        self._ring = self._ring_of(self._stored)

    def _forget_oldest(self) -> None:
        revoked = [
            (key.revoked_s, key_id) for key_id, key in self._stored.items() if key.revoked_s is not None
        ]
        gone = [key_id for _, key_id in sorted(revoked)[:-MOST_REVOKED]]
        if gone:
            self._database.remove(gone)
            self._stored = {key_id: key for key_id, key in self._stored.items() if key_id not in gone}
            self._ring = self._ring_of(self._stored)

    def _ring_of(self, stored: Mapping[str, StoredKey]) -> KeyRing:
        return KeyRing({**stored, **self._configured}, now=self._now)

    # ── told ───────────────────────────────────────────────────────────────────────────────────────────────

    def _shown(self, ring: KeyRing, key_id: str, key: StoredKey) -> ShownKey:
        used_s = max((at for at in (key.last_used_s, self._used.of(key_id)) if at is not None), default=None)
        if used_s is not None and key.created_s is not None:
            used_s = max(used_s, key.created_s)  # the hour in which it was made had begun before
        return ShownKey(key_id=key_id, key=replace(key, last_used_s=used_s), state=key.state(ring.now_s()))

    def _told(self, change: KeyChange) -> ShownKey:
        _log.info("key_changed", verb=change.verb, key_id=change.key_id, by=change.by or None)
        for changed in self._listeners:
            changed(change)
        return self.show(change.key_id)
