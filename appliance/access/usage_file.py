"""`usage.db`: tallies and quotas on disk, written in batches that are never counted twice.

    usage   one row for each hour, key and model                 about 100 bytes
    quota   one row for each key that owes something
    mark    one row: the number of the last batch, and the clocks at that moment

A batch is one transaction: everything of it, and its number, or nothing. Who does not know whether a batch
was written (the disk failed while it was committed) hands it in again under its number, and it is skipped if
it is there. `synchronous=FULL`: what was committed outlives a power cut; `docs/usage.md` has the bytes.
Days are kept by their number, not by the date of today: no wrong clock deletes anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.access.account_clock import Mark
from appliance.access.gcra import Arrival
from appliance.access.quota_rules import Counts, Day
from appliance.access.usage import Row, Tally

NAME: Final = "usage.db"
MOST_ROWS: Final = 500_000
_VERSION: Final = 1
_BUSY_S: Final = 1.0
_PAGE_BYTES: Final = 1024
"""A batch of one row writes three of them: the smaller, the less the flash wears."""
_PRUNE_ROWS: Final = 5000
"""At once; the rest goes with the next batch of a day."""

_MOST_INTEGER: Final = (1 << 63) - 1
"""Of SQLite: a debt of 292 years."""

_SCHEMA: Final = """
CREATE TABLE usage (
    hour INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    served_ms INTEGER NOT NULL, millijoules INTEGER,
    PRIMARY KEY (hour, key, model)
) WITHOUT ROWID;
CREATE TABLE quota (
    key TEXT PRIMARY KEY,
    requests_ns INTEGER NOT NULL, requests_part INTEGER NOT NULL,
    tokens_ns INTEGER NOT NULL, tokens_part INTEGER NOT NULL,
    day_began_ns INTEGER, day_used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE mark (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    batch INTEGER NOT NULL, account_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL,
    boot TEXT NOT NULL, boottime_ns INTEGER NOT NULL
);
"""
_ADD: Final = """
INSERT INTO usage VALUES (?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (hour, key, model) DO UPDATE SET
    requests = requests + excluded.requests, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    output_tokens = output_tokens + excluded.output_tokens, served_ms = served_ms + excluded.served_ms,
    millijoules = CASE WHEN excluded.millijoules IS NULL THEN millijoules
                       ELSE coalesce(millijoules, 0) + excluded.millijoules END
"""
_DAYS_BEYOND: Final = "SELECT DISTINCT hour / 24 FROM usage ORDER BY hour / 24 DESC LIMIT 1 OFFSET ?"


class UsageFile:
    """Owned by the thread that writes; made by another, which hands it over."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error, OSError: `sqlite3.DatabaseError` that is no `OperationalError` says that the
        file is damaged.
        """
        is_new = not path.exists()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if is_new:
                path.chmod(0o600)
            self._open(is_new=is_new)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, *, is_new: bool) -> None:
        run = self._connection.execute
        if is_new:
            run(f"PRAGMA page_size={_PAGE_BYTES}")
            run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run(f"PRAGMA journal_size_limit={256 * _PAGE_BYTES}")
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"its form is {version}, not {_VERSION}")
        (verdict,) = run("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.split(";\n"):
                    run(statement)
                run(f"PRAGMA user_version={_VERSION}")

    # ── what outlived the last life ─────────────────────────────────────────────────────────────────

    def mark(self) -> Mark | None:
        row = self._connection.execute("SELECT account_ns, wall_ns, boot, boottime_ns FROM mark").fetchone()
        if row is None:
            return None
        return Mark(account_ns=row[0], wall_ns=row[1], boot=row[2], boottime_ns=row[3])

    def batch(self) -> int:
        """The number of the last one; 0: there was none."""
        row = self._connection.execute("SELECT batch FROM mark").fetchone()
        return 0 if row is None else int(row[0])

    def quotas(self) -> dict[str, Counts]:
        rows = self._connection.execute("SELECT * FROM quota")
        return {
            key: Counts(
                Arrival(requests_ns, requests_part), Arrival(tokens_ns, tokens_part), Day(began, used)
            )
            for key, requests_ns, requests_part, tokens_ns, tokens_part, began, used in rows
        }

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def write(
        self, batch: int, rows: Mapping[Row, Tally], quotas: Mapping[str, Counts | None], mark: Mark
    ) -> bool:
        """One transaction. False: the batch was there already. Raises sqlite3.Error; whether the batch is
        there is then not known.
        """
        run = self._connection
        with self._transaction():
            if self.batch() >= batch:
                return False
            run.executemany(_ADD, [_row_values(row, tally) for row, tally in rows.items()])
            run.executemany("DELETE FROM quota WHERE key = ?", [(k,) for k, v in quotas.items() if v is None])
            run.executemany(
                "INSERT OR REPLACE INTO quota VALUES (?,?,?,?,?,?,?)",
                [_quota_values(key, counts) for key, counts in quotas.items() if counts is not None],
            )
            run.execute(
                "INSERT OR REPLACE INTO mark VALUES (0,?,?,?,?,?)",
                (batch, mark.account_ns, mark.wall_ns, mark.boot, mark.boottime_ns),
            )
        return True

    def prune(self, *, keep_days: int, most_rows: int = MOST_ROWS) -> int:
        """Away with what is older than the last `keep_days` days with requests, oldest first. How many rows;
        a part of them, when they are many.
        """
        run = self._connection
        found = run.execute(_DAYS_BEYOND, (keep_days,)).fetchone()
        (count,) = run.execute("SELECT count(*) FROM usage").fetchone()
        beyond: int = max(0, count - most_rows)
        if found is not None:
            (old,) = run.execute(
                "SELECT count(*) FROM usage WHERE hour < ?", (24 * found[0] + 24,)
            ).fetchone()
            beyond = max(beyond, old)
        if beyond:
            beyond = min(beyond, _PRUNE_ROWS)
            with self._transaction():
                run.execute(
                    "DELETE FROM usage WHERE (hour, key, model) IN "
                    "(SELECT hour, key, model FROM usage ORDER BY hour LIMIT ?)",
                    (beyond,),
                )
            run.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        return beyond

    def close(self) -> None:
        """With everything in the one file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            yield
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise


def is_damage(error: sqlite3.Error) -> bool:
    """The file is no database, or not ours; anything else may pass."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.InterfaceError
    )


def set_aside(path: Path) -> Path:
    """What is damaged is kept for who wants to look, under one name: the one before goes. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _row_values(row: Row, tally: Tally) -> tuple[object, ...]:
    return (
        *row,
        tally.requests,
        tally.errors,
        tally.prompt_tokens,
        tally.cached_tokens,
        tally.output_tokens,
        tally.served_ms,
        tally.millijoules,
    )


def _quota_values(key: str, counts: Counts) -> tuple[object, ...]:
    requests, tokens, day = counts.requests, counts.tokens, counts.day
    values = (requests.ns, requests.part, tokens.ns, tokens.part, day.began_ns, day.used)
    return (key, *(None if value is None else min(value, _MOST_INTEGER) for value in values))
