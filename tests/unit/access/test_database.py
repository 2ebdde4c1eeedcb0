"""The file of the keys: what is damaged, foreign, newer or not ours alone never opens the door."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from appliance.access import database
from appliance.access.database import FILE, SCHEMA, KeyDatabase
from appliance.access.key_store import KeyStore
from appliance.access.keys import StoredKey
from appliance.errors import KeysUnusable
from tests.unit.access.stores import made, opened


def filled(directory: Path) -> Path:
    with opened(directory) as store:
        made(store)
    return directory / FILE


def fill(store: KeyStore) -> None:
    for _ in range(200):
        made(store)


def refused(directory: Path) -> str:
    with pytest.raises(KeysUnusable) as told, opened(directory):
        pass
    return told.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 4096, b"not a database", b"SQLite format 3\0" + b"\xff" * 4080],
    ids=["empty", "zeros", "text", "header"],
)
def test_what_is_no_database_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert "from a backup" in refused(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_database_of_others_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("CREATE TABLE keys (id TEXT)")
        other.commit()
    assert "no database of keys" in refused(tmp_path)


@pytest.mark.parametrize("offset", [100, 4096 + 4, 8192 - 128])
def test_a_damaged_database_is_refused(offset: int, tmp_path: Path) -> None:
    path = filled(tmp_path)
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    refused(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "scopes = 'infer everything'",
        "sha256 = 'short'",
        "models = '[1]'",
        "models = '{'",
        "models = '5'",
    ],
)
def test_a_row_that_no_version_of_ours_has_written_is_refused(change: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled(tmp_path))) as connection:
        connection.execute(f"UPDATE keys SET {change}")
        connection.commit()
    assert "a row is damaged" in refused(tmp_path)


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = path.read_bytes()
    assert "a newer version made it" in refused(tmp_path)
    assert path.read_bytes() == before


def test_an_older_database_is_brought_up_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path)
    monkeypatch.setattr(database, "_MIGRATIONS", (*database._MIGRATIONS, "CREATE TABLE later (x)"))
    monkeypatch.setattr(database, "SCHEMA", SCHEMA + 1)
    with opened(tmp_path) as store:
        assert len(store.list()) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)
        assert connection.execute("SELECT * FROM later").fetchall() == []


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path)
    monkeypatch.setattr(
        database, "_MIGRATIONS", (*database._MIGRATIONS, "CREATE TABLE later (x); SELECT nonsense")
    )
    monkeypatch.setattr(database, "SCHEMA", SCHEMA + 1)
    refused(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'later'").fetchall() == []


def test_it_is_its_owners_alone_from_the_first_moment(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path) as store:
            made(store)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert {FILE, f"{FILE}-wal"} <= set(modes)


def test_a_mode_that_is_too_wide_is_mended(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.chmod(0o644)
    with opened(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _link(path: Path) -> None:
    path.symlink_to(filled(path.parents[1]))


def _dangle(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("plant", [_link, _dangle, os.mkfifo, os.mkdir])
def test_links_pipes_and_directories_in_its_place_are_refused(
    plant: Callable[[Path], None], tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    plant(directory / FILE)
    refused(directory)


def test_what_a_crash_left_of_a_new_one_is_no_obstacle(tmp_path: Path) -> None:
    for name in ("keys.new", "keys.new-wal", "keys.new-journal"):
        (tmp_path / name).write_bytes(b"half")
    filled(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {FILE}


def test_every_change_is_synced_and_the_use_of_a_key_is_not(tmp_path: Path) -> None:
    opening = KeyDatabase(tmp_path)
    said: list[str] = []
    opening._connection.set_trace_callback(said.append)
    opening.put("abcd1234", StoredKey(sha256="0" * 64, created_s=1.0))
    assert opening._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opening._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    said.clear()
    opening.note_used({"abcd1234": 5.0})
    assert said[0] == "PRAGMA synchronous = NORMAL"
    assert said[-1] == "PRAGMA synchronous = FULL"
    opening.close()


def test_a_disk_that_is_full_is_told_and_nothing_is_half_done(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        kept = made(store)
        store._database._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(KeysUnusable, match="make room on the disk"):
            fill(store)
        assert store.verify(kept.text).key_id == kept.shown.key_id
    with opened(tmp_path) as store:
        assert store.verify(kept.text).key_id == kept.shown.key_id
