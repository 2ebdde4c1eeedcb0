from __future__ import annotations

import json
from pathlib import Path

from appliance.store import homes
from appliance.store.content import unreported
from appliance.store.digest import Digest, digest_of
from appliance.store.homes import HOMES
from appliance.store.reference import parse_reference
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store

TINY = parse_reference("tiny")
WEIGHTS = digest_of(generator().read_bytes())


def note(store: ModelStore, home: str) -> None:
    homes.note(store.layout, TINY, digest_of_tiny(store), home)


def digest_of_tiny(store: ModelStore) -> Digest:
    return store.layout.lookup(TINY).digest


def noted(store: ModelStore) -> list[str]:
    return store.layout.lookup(TINY).annotations.get(HOMES, "").split()


def mounted_from(store: ModelStore, target: str) -> str | None:
    return homes.mounts(store.layout, parse_reference(target)).get(WEIGHTS)


def test_a_blob_is_known_to_lie_where_its_name_was_pulled_from_or_pushed_to(stocked: ModelStore) -> None:
    note(stocked, "registry.example/team/base")
    stocked.create("brief", "FROM tiny\nSYSTEM be brief", unreported)
    assert mounted_from(stocked, "registry.example/team/brief") == "team/base"
    assert mounted_from(stocked, "REGISTRY.example/team/brief") == "team/base"
    assert mounted_from(stocked, "other.example/team/brief") is None


def test_the_target_itself_is_no_place_to_mount_from(stocked: ModelStore) -> None:
    note(stocked, "registry.example/team/base")
    assert mounted_from(stocked, "registry.example/Team/Base:v2") is None
    note(stocked, "registry.example/team/second")
    assert mounted_from(stocked, "registry.example/team/second") == "team/base"


def test_the_newest_homes_are_kept_each_once(stocked: ModelStore) -> None:
    for number in (*range(12), 11, 4):
        note(stocked, f"registry.example/team/m{number}")
    assert noted(stocked) == [f"registry.example/team/m{number}" for number in (4, 11, 10, 9, 8, 7, 6, 5)]


def test_what_is_known_already_is_not_written_again(stocked: ModelStore) -> None:
    note(stocked, "registry.example/team/base")
    before = stocked.layout.places.index.stat().st_ino
    note(stocked, "registry.example/team/base")
    assert stocked.layout.places.index.stat().st_ino == before


def test_a_name_that_stands_for_something_else_by_now_gets_no_note(stocked: ModelStore) -> None:
    homes.note(stocked.layout, TINY, digest_of(b"former"), "registry.example/team/base")
    homes.note(stocked.layout, parse_reference("gone"), digest_of_tiny(stocked), "registry.example/team/base")
    assert not noted(stocked)


def test_a_note_changes_nothing_else_and_outlives_the_process(stocked: ModelStore, tmp_path: Path) -> None:
    before = stocked.list()
    note(stocked, "registry.example/team/base")
    assert stocked.list() == before
    stocked.close()
    again = make_store(tmp_path / "data")
    assert noted(again) == ["registry.example/team/base"]
    again.close()


def test_homes_do_not_leave_the_store_and_those_of_others_do_not_enter(
    stocked: ModelStore, tmp_path: Path
) -> None:
    note(stocked, "registry.example/team/base")
    stocked.export("tiny", tmp_path / "stick", unreported)
    stocked.export("tiny", tmp_path / "tiny.tar", unreported)
    index = tmp_path / "stick" / "index.json"
    assert "registry.example" not in index.read_text()
    assert b"registry.example" not in (tmp_path / "tiny.tar").read_bytes()
    told = json.loads(index.read_text())
    told["manifests"][0]["annotations"][HOMES] = "registry.example/secret/model"
    index.write_text(json.dumps(told))
    stocked.import_file(tmp_path / "stick", "other", unreported)
    (other,) = [
        found for reference, found in stocked.layout.references() if reference.display == "other:latest"
    ]
    assert HOMES not in other.annotations
