from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store import homes
from appliance.store.content import unreported
from appliance.store.digest import Digest, digest_of
from appliance.store.homes import HOMES
from appliance.store.reference import parse_reference
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store

TINY = parse_reference("tiny")
WEIGHTS = digest_of(generator().read_bytes())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModelStore]:
    made = make_store(tmp_path / "data")
    made.import_file(generator(), "tiny", unreported)
    yield made
    made.close()


def note(store: ModelStore, home: str) -> None:
    homes.note(store.layout, TINY, digest_of_tiny(store), home)


def digest_of_tiny(store: ModelStore) -> Digest:
    return store.layout.lookup(TINY).digest


def noted(store: ModelStore) -> list[str]:
    return store.layout.lookup(TINY).annotations.get(HOMES, "").split()


def mounted_from(store: ModelStore, target: str) -> str | None:
    return homes.mounts(store.layout, parse_reference(target)).get(WEIGHTS)


def test_a_blob_is_known_to_lie_where_its_name_was_pulled_from_or_pushed_to(store: ModelStore) -> None:
    note(store, "registry.example/team/base")
    store.create("brief", "FROM tiny\nSYSTEM be brief", unreported)
    assert mounted_from(store, "registry.example/team/brief") == "team/base"
    assert mounted_from(store, "REGISTRY.example/team/brief") == "team/base"
    assert mounted_from(store, "other.example/team/brief") is None


def test_the_target_itself_is_no_place_to_mount_from(store: ModelStore) -> None:
    note(store, "registry.example/team/base")
    assert mounted_from(store, "registry.example/Team/Base:v2") is None
    note(store, "registry.example/team/second")
    assert mounted_from(store, "registry.example/team/second") == "team/base"


def test_the_newest_homes_are_kept_each_once(store: ModelStore) -> None:
    for number in (*range(12), 11, 4):
        note(store, f"registry.example/team/m{number}")
    assert noted(store) == [f"registry.example/team/m{number}" for number in (4, 11, 10, 9, 8, 7, 6, 5)]


def test_what_is_known_already_is_not_written_again(store: ModelStore) -> None:
    note(store, "registry.example/team/base")
    before = store.layout.places.index.stat().st_ino
    note(store, "registry.example/team/base")
    assert store.layout.places.index.stat().st_ino == before


def test_a_name_that_stands_for_something_else_by_now_gets_no_note(store: ModelStore) -> None:
    homes.note(store.layout, TINY, digest_of(b"former"), "registry.example/team/base")
    homes.note(store.layout, parse_reference("gone"), digest_of_tiny(store), "registry.example/team/base")
    assert not noted(store)


def test_a_note_changes_nothing_else_and_outlives_the_process(store: ModelStore, tmp_path: Path) -> None:
    before = store.list()
    note(store, "registry.example/team/base")
    assert store.list() == before
    store.close()
    again = make_store(tmp_path / "data")
    assert noted(again) == ["registry.example/team/base"]
    again.close()


def test_homes_do_not_leave_the_store_and_those_of_others_do_not_enter(
    store: ModelStore, tmp_path: Path
) -> None:
    note(store, "registry.example/team/base")
    store.export("tiny", tmp_path / "stick", unreported)
    store.export("tiny", tmp_path / "tiny.tar", unreported)
    index = tmp_path / "stick" / "index.json"
    assert "registry.example" not in index.read_text()
    assert b"registry.example" not in (tmp_path / "tiny.tar").read_bytes()
    told = json.loads(index.read_text())
    told["manifests"][0]["annotations"][HOMES] = "registry.example/secret/model"
    index.write_text(json.dumps(told))
    store.import_file(tmp_path / "stick", "other", unreported)
    (other,) = [
        found for reference, found in store.layout.references() if reference.display == "other:latest"
    ]
    assert HOMES not in other.annotations
