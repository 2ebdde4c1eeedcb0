"""Keys in SQLite: `keys.db` in the data directory, mode 0600, write-ahead log, every change synced
before it is told.

    PRAGMA user_version   schema: how many of `_MIGRATIONS` have been done
    PRAGMA application_id "OPKY", so that no other database is taken for it

A new one is made aside and renamed, so an empty file is never taken for one without keys: whatever
cannot be read whole is KeysUnusable, and the door stays shut.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from appliance.access.grants import Bounds
from appliance.access.keys import StoredKey
from appliance.access.ownership import give_to_owner_of
from appliance.access.scopes import Scope
from appliance.errors import KeysUnusable

FILE: Final = "keys.db"
_APPLICATION_ID: Final = int.from_bytes(b"OPKY")
_WAIT_S: Final = 5.0
_MIGRATIONS: Final = (
    """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        previous_sha256 TEXT NOT NULL,
        previous_until_s REAL NOT NULL,
        name TEXT NOT NULL,
        note TEXT NOT NULL,
        scopes TEXT NOT NULL,
        models TEXT NOT NULL,
        requests_per_min INTEGER,
        tokens_per_min INTEGER,
        tokens_per_day INTEGER,
        concurrency INTEGER,
        max_context INTEGER,
        background_only INTEGER NOT NULL,
        created_s REAL NOT NULL,
        expires_s REAL,
        revoked_s REAL,
        last_used_s REAL
    ) STRICT, WITHOUT ROWID
    """,
)
"""Each takes the database one version further. Only ever appended to."""
SCHEMA: Final = len(_MIGRATIONS)
_COLUMNS: Final = (
    *("id", "sha256", "previous_sha256", "previous_until_s", "name", "note", "scopes", "models"),
    *("requests_per_min", "tokens_per_min", "tokens_per_day", "concurrency", "max_context"),
    *("background_only", "created_s", "expires_s", "revoked_s", "last_used_s"),
)
_PUT: Final = (
    f"INSERT OR REPLACE INTO keys ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)})"  # noqa: S608
)
_DAMAGED: Final = (
    "bring it back from a backup; without one, move it and its -wal file away: all keys that were made with "
    "`outpost keys` are lost then, and on loopback the door stands open until there is a new one"
)
_NEWER: Final = "start the version of Outpost that made it, or a newer one"
_ROOM: Final = "make room on the disk"
_ACCESS: Final = "run this as the user of the daemon, and look at the file's owner and mode"


class KeyDatabase:
    """One connection, whose owner lets one thread in at a time."""

    def __init__(self, directory: Path) -> None:
        """Opens what is there, or makes it. Raises KeysUnusable."""
        self._path = directory / FILE
        with self._faults():
            if not os.path.lexists(self._path):
                _make(self._path)
            _secure(self._path)
            self._connection = _connected(self._path)
            try:
                self._check()
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                self._connection.execute("PRAGMA synchronous = FULL")
                _migrate(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def load(self) -> dict[str, StoredKey]:
        with self._faults():
            rows = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM keys").fetchall()  # noqa: S608
            try:
                return {str(row[0]): _key_of(dict(zip(_COLUMNS, row, strict=True))) for row in rows}
            except (ValueError, TypeError, KeyError) as error:
                raise self._unusable(f"a row is damaged ({error})", _DAMAGED) from error

    def put(self, key_id: str, key: StoredKey) -> None:
        """Durable when it returns."""
        with self._faults(), self._transaction():
            self._connection.execute(_PUT, _row_of(key_id, key))

    def remove(self, key_ids: list[str]) -> None:
        with self._faults(), self._transaction():
            self._connection.executemany("DELETE FROM keys WHERE id = ?", [(key_id,) for key_id in key_ids])

    def note_used(self, used: Mapping[str, float]) -> None:
        """Not synced: to lose it costs nothing, to sync it wears flash."""
        with self._faults():
            self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._transaction():
                    self._connection.executemany(
                        "UPDATE keys SET last_used_s = ? WHERE id = ?",
                        [(used_s, key_id) for key_id, used_s in used.items()],
                    )
            finally:
                self._connection.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        self._connection.close()

    def _check(self) -> None:
        """Before anything is written."""
        version = _number(self._connection, "user_version")
        if version > SCHEMA:
            raise self._unusable(f"a newer version made it (schema {version}, known: {SCHEMA})", _NEWER)
        if _number(self._connection, "application_id") != _APPLICATION_ID:
            raise self._unusable("it is no database of keys", _DAMAGED)
        told = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if told is None or told[0] != "ok":
            raise self._unusable("it is damaged", _DAMAGED)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # after some faults SQLite has rolled back itself
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(str(error), _remedy(error)) from error
        except OSError as error:
            raise self._unusable(error.strerror or str(error), _ACCESS) from error

    def _unusable(self, reason: str, remedy: str) -> KeysUnusable:
        return KeysUnusable(path=str(self._path), reason=reason, remedy=remedy)


def _make(path: Path) -> None:
    """Whole, synced, and only then under its name."""
    aside = path.with_suffix(".new")
    for left in (aside, Path(f"{aside}-wal"), Path(f"{aside}-shm"), Path(f"{aside}-journal")):
        with suppress(FileNotFoundError):
            left.unlink()
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    _secure(aside)
    with closing(sqlite3.connect(aside, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        _migrate(connection)
    aside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _secure(path: Path) -> None:
    """A plain file that its owner alone reads; what root makes belongs to whom the directory belongs to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is not a plain file")
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        give_to_owner_of(path.parent, descriptor)
    finally:
        os.close(descriptor)


def _connected(path: Path) -> sqlite3.Connection:
    """`mode=rw`: what is gone since it was looked for is not made anew, empty."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _migrate(connection: sqlite3.Connection) -> None:
    for step in range(_number(connection, "user_version"), SCHEMA):
        connection.executescript(
            f"BEGIN IMMEDIATE; {_MIGRATIONS[step]}; PRAGMA user_version = {step + 1}; COMMIT;"
        )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _remedy(error: sqlite3.Error) -> str:
    code = (error.sqlite_errorcode or 0) & 0xFF if hasattr(error, "sqlite_errorcode") else 0
    if code == sqlite3.SQLITE_FULL:
        return _ROOM
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _DAMAGED
    return _ACCESS


def _row_of(key_id: str, key: StoredKey) -> tuple[object, ...]:
    bounds = key.bounds
    return (
        *(key_id, key.sha256, key.previous_sha256, key.previous_until_s, key.name, key.note),
        *(" ".join(sorted(key.scopes)), json.dumps(key.models)),
        *(bounds.requests_per_min, bounds.tokens_per_min, bounds.tokens_per_day, bounds.concurrency),
        *(bounds.max_context, int(bounds.background_only)),
        *(key.created_s, key.expires_s, key.revoked_s, key.last_used_s),
    )


def _key_of(row: dict[str, Any]) -> StoredKey:
    """Raises ValueError, TypeError, KeyError for what no version of ours has written."""
    models = json.loads(row["models"])
    if len(row["sha256"]) != 64 or not all(isinstance(model, str) for model in models):
        raise ValueError("a hash or a list of models")
    return StoredKey(
        scopes=frozenset(Scope(scope) for scope in row["scopes"].split()),
        models=tuple(models),
        bounds=Bounds(
            requests_per_min=row["requests_per_min"],
            tokens_per_min=row["tokens_per_min"],
            tokens_per_day=row["tokens_per_day"],
            concurrency=row["concurrency"],
            max_context=row["max_context"],
            background_only=bool(row["background_only"]),
        ),
        **{
            name: row[name]
            for name in (
                *("sha256", "previous_sha256", "previous_until_s", "name", "note"),
                *("created_s", "expires_s", "revoked_s", "last_used_s"),
            )
        },
    )
