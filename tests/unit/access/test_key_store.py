"""Keys that come, change and go: what a check sees of it, and what is there after a restart."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.access import key_store
from appliance.access.grants import Bounds
from appliance.access.key_changes import KeyChange
from appliance.access.key_store import KeyStore
from appliance.access.keys import KeyState, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey, EditKey, RotateKey
from appliance.errors import KeyNotFound, LastAdminKey, NotAllowed, Unauthenticated
from tests.unit.access.stores import HOUR_S, START_S, Clock, made, opened


def test_a_new_key_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    wish = CreateKey(
        name="team",
        note="of the second floor",
        scopes=frozenset({Scope.INFER, Scope.METRICS}),
        models=("smol*",),
        expires_in_s=90 * 86400.0,
        requests_per_min=60,
        tokens_per_min=1000,
        tokens_per_day=100_000,
        concurrency=2,
        max_context=4096,
        background_only=True,
        force=True,
    )
    with opened(tmp_path) as store:
        text = store.create(wish).text
        before = store.verify(text)
        shown = store.list()
    with opened(tmp_path) as store:
        assert store.verify(text) == before
        assert store.list() == [replace(one, key=replace(one.key, last_used_s=START_S)) for one in shown]
    assert before.bounds == Bounds(
        requests_per_min=60,
        tokens_per_min=1000,
        tokens_per_day=100_000,
        concurrency=2,
        max_context=4096,
        background_only=True,
    )
    assert (before.name, before.models) == ("team", ("smol*",))


def test_nothing_of_a_secret_is_on_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        text = made(store).text
        secret = text.split("_", 2)[2].encode()
        assert secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_what_was_revoked_holds_no_more_and_is_still_listed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        key = made(store)
        store.revoke(key.shown.key_id)
        with pytest.raises(Unauthenticated, match="revoked"):
            store.verify(key.text)
        assert [one.state for one in store.list()] == [KeyState.REVOKED]
    with opened(tmp_path) as store, pytest.raises(Unauthenticated, match="revoked"):
        store.verify(key.text)


def test_to_revoke_the_last_key_does_not_open_the_door(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert not store.is_needed()
        key = made(store)
        assert store.is_needed()
        store.revoke(key.shown.key_id)
        assert store.is_needed()
    with opened(tmp_path) as store:
        assert store.is_needed()


def test_a_key_ends_when_its_time_is_over_and_lives_again_when_it_gets_more(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as store:
        key = store.create(CreateKey(expires_in_s=100.0, force=True))
        clock.now_s += 99.9
        assert store.verify(key.text).key_id == key.shown.key_id
        clock.now_s += 0.2
        with pytest.raises(Unauthenticated, match="expired"):
            store.verify(key.text)
        assert store.show(key.shown.key_id).state is KeyState.EXPIRED
        store.edit(key.shown.key_id, EditKey(expires_in_s=10.0))
        assert store.verify(key.text).key_id == key.shown.key_id


def test_a_change_touches_only_what_is_named_and_null_takes_away(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        key = store.create(
            CreateKey(name="a", models=("m",), requests_per_min=5, expires_in_s=10.0, force=True)
        )
        key_id = key.shown.key_id
        store.edit(key_id, EditKey(note="n", requests_per_min=None, expires_in_s=None, concurrency=3))
        after = store.show(key_id).key
        assert (after.name, after.note, after.models, after.expires_s) == ("a", "n", ("m",), None)
        assert after.bounds == Bounds(concurrency=3)
        assert store.verify(key.text).bounds.concurrency == 3


def test_a_rotated_key_has_a_new_secret_and_the_old_one_for_its_grace(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as store:
        first = made(store)
        key_id = first.shown.key_id
        second = store.rotate(key_id, RotateKey(grace_s=60.0))
        assert second.text != first.text
        assert store.verify(first.text) == store.verify(second.text)
        clock.now_s += 60.0
        with pytest.raises(Unauthenticated):
            store.verify(first.text)
        third = store.rotate(key_id, RotateKey())
        with pytest.raises(Unauthenticated):
            store.verify(second.text)
        assert store.verify(third.text).key_id == key_id


def test_the_last_key_that_may_change_keys_goes_only_by_force(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first, other = made(store, Scope.KEYS_ADMIN), made(store)
        key_id = first.shown.key_id
        with pytest.raises(LastAdminKey):
            store.revoke(key_id)
        with pytest.raises(LastAdminKey):
            store.edit(key_id, EditKey(scopes=frozenset({Scope.INFER})))
        assert store.verify(first.text).scopes == {Scope.KEYS_ADMIN}
        second = made(store, Scope.KEYS_ADMIN)
        store.revoke(key_id)
        store.revoke(other.shown.key_id)
        store.revoke(second.shown.key_id, force=True)
        assert store.ring.admins() == frozenset()


def test_a_key_of_the_configuration_is_listed_and_not_changed(tmp_path: Path) -> None:
    key = generate()
    stored = StoredKey(sha256=key.sha256, scopes=frozenset({Scope.KEYS_ADMIN}), is_configured=True)
    with opened(tmp_path, configured={key.key_id: stored}) as store:
        assert store.is_needed()
        assert store.verify(key.text).key_id == key.key_id
        with pytest.raises(NotAllowed, match="configuration"):
            store.revoke(key.key_id, force=True)
        with pytest.raises(NotAllowed, match="configuration"):
            store.edit(key.key_id, EditKey(name="x"))
        with pytest.raises(NotAllowed, match="configuration"):
            store.rotate(key.key_id, RotateKey())
        other = made(store, Scope.KEYS_ADMIN)
        store.revoke(other.shown.key_id)  # the one of the configuration is left
    with opened(tmp_path) as store, pytest.raises(Unauthenticated):
        store.verify(key.text)


def test_an_unknown_key_and_a_revoked_one_cannot_be_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(KeyNotFound):
            store.revoke("nobody00")
        key = made(store)
        store.revoke(key.shown.key_id)
        with pytest.raises(NotAllowed, match="for good"):
            store.rotate(key.shown.key_id, RotateKey())


def test_the_use_of_a_key_is_kept_to_the_hour_and_written_once(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as store:
        key = made(store)
        key_id = key.shown.key_id
        assert store.show(key_id).key.last_used_s is None
        clock.now_s = START_S + 1.5 * HOUR_S
        store.verify(key.text)
        assert store.show(key_id).key.last_used_s == START_S + HOUR_S
        store.write_used()
        size = (tmp_path / "keys.db-wal").stat().st_size
        for _ in range(100):
            store.verify(key.text)
            store.write_used()
        assert (tmp_path / "keys.db-wal").stat().st_size == size
    with opened(tmp_path, clock=clock) as store:
        assert store.show(key_id).key.last_used_s == START_S + HOUR_S


def test_a_check_asks_no_database(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        key = made(store)
        store._database.close()
        assert store.verify(key.text).key_id == key.shown.key_id
        store._database = type(store._database)(tmp_path)


def test_who_listens_hears_of_every_change_when_it_is_durable(tmp_path: Path) -> None:
    heard: list[tuple[KeyChange, set[str]]] = []
    with opened(tmp_path) as store:

        def note(change: KeyChange) -> None:
            with_it = KeyStore(tmp_path, configured={})
            heard.append((change, set(with_it.ring.keys)))
            with_it.close()

        store.listen(note)
        key_id = store.create(CreateKey(force=True), by="admin000").shown.key_id
        store.revoke(key_id)
    assert [(change.verb, change.key_id, change.by) for change, _ in heard] == [
        ("create", key_id, "admin000"),
        ("revoke", key_id, ""),
    ]
    assert heard[0][1] == {key_id}


def test_revoked_keys_are_kept_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "MOST_REVOKED", 3)
    clock = Clock()
    with opened(tmp_path, clock=clock) as store:
        made_keys = [made(store) for _ in range(5)]
        for key in made_keys:
            clock.now_s += 1
            store.revoke(key.shown.key_id)
        assert {one.key_id for one in store.list()} == {key.shown.key_id for key in made_keys[2:]}
    with opened(tmp_path, clock=clock) as store:
        assert len(store.list()) == 3


def test_there_is_a_most_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "MOST_KEYS", 2)
    with opened(tmp_path) as store:
        made(store), made(store)
        with pytest.raises(NotAllowed, match="revoke some"):
            made(store)


def test_many_threads_change_and_check_at_once(tmp_path: Path) -> None:
    faults: list[BaseException] = []
    with opened(tmp_path) as store:

        def work() -> None:
            try:
                for _ in range(5):
                    key = made(store)
                    assert store.verify(key.text).key_id == key.shown.key_id
                    store.revoke(key.shown.key_id)
                    with pytest.raises(Unauthenticated):
                        store.verify(key.text)
            except BaseException as fault:  # noqa: BLE001 - thread top; told below
                faults.append(fault)

        threads = [threading.Thread(target=work, name=f"changer-{number}") for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert faults == []
        assert len(store.list()) == 20
