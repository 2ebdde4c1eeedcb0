"""Changes of keys and the audit log: no right is given that cannot be traced, and none is kept for a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.access.audit import Audit
from appliance.access.audit_files import FOLDER, entries, verify
from appliance.access.claims import Claims
from appliance.access.database import KeyDatabase
from appliance.access.key_changes import KeyChange
from appliance.access.key_store import KeyStore
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey, EditKey, RotateKey, TakeClaim
from appliance.daemon.audited_keys import AuditedKeys
from appliance.errors import (
    AuditUnwritable,
    FirstKeyNeedsAdmin,
    KeysUnusable,
    LastAdminKey,
    NotAllowed,
    Unauthenticated,
)
from tests.unit.access.stores import made, opened

DEVICE_KEY = b"k" * 32


class Faulty:
    """A data directory whose audit log can be broken, and be whole again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.audit = Audit(data, DEVICE_KEY, max_bytes=1 << 20)
        self._in_the_way = data / FOLDER / "999999999999.jsonl"

    def break_it(self) -> None:
        """A directory stands where the newest file was: no line can be read or written."""
        (self.data / FOLDER).mkdir(exist_ok=True)
        self._in_the_way.mkdir()

    def mend(self) -> None:
        self._in_the_way.rmdir()

    def told(self) -> list[tuple[str, str, object]]:
        return [(one["event"], one["actor"], one["facts"].get("key")) for one in entries(self.data, last=100)]


@contextmanager
def audited(directory: Path) -> Iterator[tuple[KeyStore, Faulty]]:
    log = Faulty(directory)
    with opened(directory) as store:
        store.log_to(AuditedKeys(log.audit))
        yield store, log


def test_every_change_is_in_the_log_with_who_made_it_and_what_the_key_may(tmp_path: Path) -> None:
    with audited(tmp_path) as (store, log):
        admin = store.create(CreateKey(scopes=frozenset({Scope.KEYS_ADMIN})), by="user me").shown.key_id
        key_id = store.create(CreateKey(), by=admin).shown.key_id
        store.edit(key_id, EditKey(scopes=frozenset({Scope.SYSTEM, Scope.INFER})), by=admin)
        store.rotate(key_id, RotateKey(), by=admin)
        assert store.revoke(key_id, by=admin).is_noted
    assert log.told() == [
        ("key_created", "user me", admin),
        *((event, admin, key_id) for event in ("key_created", "key_edited", "key_rotated", "key_revoked")),
    ]
    scopes = [one["facts"].get("scopes") for one in entries(tmp_path, last=100)]
    assert scopes == [["keys:admin"], ["infer"], ["infer", "system"], ["infer", "system"], None]
    assert verify(tmp_path, DEVICE_KEY).findings == ()


def test_what_cannot_be_written_down_gives_no_right(tmp_path: Path) -> None:
    with audited(tmp_path) as (store, log):
        key = made(store, Scope.KEYS_ADMIN)
        key_id, before = key.shown.key_id, store.ring.keys
        log.break_it()
        for change in (
            lambda: store.create(CreateKey()),
            lambda: store.edit(key_id, EditKey(scopes=frozenset(Scope))),
            lambda: store.rotate(key_id, RotateKey()),
        ):
            with pytest.raises(AuditUnwritable) as refused:
                change()
            assert refused.value.fields["free_bytes"] > 0
            assert "a directory" in refused.value.message
        assert store.ring.keys == before
        assert store.verify(key.text).scopes == {Scope.KEYS_ADMIN}
    with opened(tmp_path) as again:
        assert set(again.ring.keys) == {key_id}
    assert log.audit.lost == 0


def test_a_key_is_revoked_whatever_becomes_of_the_log(tmp_path: Path) -> None:
    with audited(tmp_path) as (store, log):
        made(store, Scope.KEYS_ADMIN)
        key = made(store)
        log.break_it()
        assert not store.revoke(key.shown.key_id, by="admin000").is_noted
        with pytest.raises(Unauthenticated, match="revoked"):
            store.verify(key.text)
        assert log.audit.lost == 1
        log.mend()
        made(store)
    assert [event for event, _, _ in log.told()] == ["key_created"] * 3
    assert verify(tmp_path, DEVICE_KEY).findings == ()


def test_a_revocation_that_the_disk_does_not_take_holds_and_is_made_up_for(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        admin, key = made(store, Scope.KEYS_ADMIN), made(store)
        whole = store._database
        store._database = KeyDatabase(tmp_path)
        store._database.close()
        for _ in range(2):
            with pytest.raises(KeysUnusable, match="is refused while this process runs"):
                store.revoke(key.shown.key_id)
            with pytest.raises(Unauthenticated, match="revoked"):
                store.verify(key.text)
        store.write_used()
        with pytest.raises(NotAllowed, match="revoked"):
            store.edit(key.shown.key_id, EditKey(note="n"))
        store._database = whole
        store.write_used()
        with pytest.raises(NotAllowed, match="revoked"):
            store.revoke(key.shown.key_id)
        assert store.verify(admin.text).key_id == admin.shown.key_id
    with opened(tmp_path) as again, pytest.raises(Unauthenticated, match="revoked"):
        again.verify(key.text)


def test_a_change_that_fails_after_its_entry_has_another(tmp_path: Path) -> None:
    log = Faulty(tmp_path)
    store = KeyStore(tmp_path, configured={})
    store.log_to(AuditedKeys(log.audit))
    store._database.close()
    with pytest.raises(KeysUnusable):
        made(store, Scope.KEYS_ADMIN)
    assert not store.ring
    first, second = entries(tmp_path, last=9)
    assert (first["event"], second["event"]) == ("key_created", "key_change_failed")
    assert second["facts"] == {"verb": "create", "key": first["facts"]["key"]}


def test_what_is_refused_for_another_reason_is_not_in_the_log(tmp_path: Path) -> None:
    with audited(tmp_path) as (store, log):
        with pytest.raises(FirstKeyNeedsAdmin):
            store.create(CreateKey())
        key_id = made(store, Scope.KEYS_ADMIN).shown.key_id
        with pytest.raises(LastAdminKey):
            store.edit(key_id, EditKey(scopes=frozenset({Scope.INFER})))
        assert log.told() == [("key_created", "local", key_id)]


def test_a_claim_is_not_spent_on_a_key_that_cannot_be_written_down(tmp_path: Path) -> None:
    with audited(tmp_path) as (store, log):
        claims = Claims(store, tmp_path)
        text = claims.offer()
        assert text is not None
        log.break_it()
        with pytest.raises(AuditUnwritable):
            claims.take(TakeClaim(claim=text), source="10.0.0.9")
        assert claims.is_pending
        log.mend()
        key_id = claims.take(TakeClaim(claim=text), source="10.0.0.9").shown.key_id
        assert log.told() == [("key_created", "10.0.0.9", key_id)]


class Watching:
    """A `ChangeLog` that looks at the ring whenever it is told."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self.seen: list[tuple[str, str, bool]] = []

    def _see(self, what: str, change: KeyChange) -> None:
        is_usable = self._store.ring.keys.get(change.key_id)
        self.seen.append((what, change.verb, is_usable is not None and is_usable.revoked_s is None))

    def intend(self, change: KeyChange) -> None:
        self._see("intend", change)

    def failed(self, change: KeyChange) -> None:
        self._see("failed", change)

    def done(self, change: KeyChange) -> bool:
        self._see("done", change)
        return True


def test_rights_are_given_behind_their_entry_and_taken_before_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        watching = Watching(store)
        store.log_to(watching)
        store.revoke(made(store).shown.key_id)
        assert watching.seen == [("intend", "create", False), ("done", "revoke", False)]


# ── the first key ────────────────────────────────────────────────────────────────────────────────────


def test_the_first_key_may_make_others_or_is_meant_to_be_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(FirstKeyNeedsAdmin, match=r"--scope keys:admin"):
            store.create(CreateKey(name="laptop"))
        assert not store.is_needed()
        store.create(CreateKey(name="laptop", force=True))
        assert store.is_needed()
        store.create(CreateKey(name="another"))


def test_after_an_administrator_the_next_may_be_any(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.create(CreateKey(scopes=frozenset({Scope.KEYS_ADMIN})))
        assert store.create(CreateKey()).shown.key.scopes == {Scope.INFER}
