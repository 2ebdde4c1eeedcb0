"""Batches on disk: never counted twice, never half, small, and gone when they are old."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.access import usage_file
from appliance.access.account_clock import Mark
from appliance.access.gcra import Arrival
from appliance.access.quota_rules import Counts, Day
from appliance.access.usage import Row, Tally
from appliance.access.usage_file import NAME, UsageFile

MARK = Mark(account_ns=7, wall_ns=8, boot="b", boottime_ns=9)
HOUR = 490_000
COUNTS = Counts(Arrival(5, 1), Arrival(6, 2), Day(3, 4))


@contextmanager
def opened(path: Path) -> Iterator[UsageFile]:
    file = UsageFile(path)
    try:
        yield file
    finally:
        file.close()


def rows_of(path: Path) -> dict[Row, Tally]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT * FROM usage").fetchall()
    finally:
        connection.close()
    return {
        Row(hour, key, model): Tally(
            requests=requests,
            errors=errors,
            prompt_tokens=prompt,
            cached_tokens=cached,
            output_tokens=output,
            served_ms=served,
            millijoules=joules,
        )
        for hour, key, model, requests, errors, prompt, cached, output, served, joules in rows
    }


def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    row, tally = Row(HOUR, "k", "m"), Tally(requests=1, prompt_tokens=5, millijoules=None)
    with opened(tmp_path / NAME) as file:
        assert (file.mark(), file.batch(), file.quotas()) == (None, 0, {})
        assert file.write(1, {row: tally}, {"k": COUNTS, "gone": None}, MARK)
    with opened(tmp_path / NAME) as file:
        assert (file.mark(), file.batch(), file.quotas()) == (MARK, 1, {"k": COUNTS})
        assert file.write(2, {row: Tally(requests=1, millijoules=30)}, {"k": None}, MARK)
        assert file.quotas() == {}
    assert rows_of(tmp_path / NAME) == {row: Tally(requests=2, prompt_tokens=5, millijoules=30)}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_batch_that_comes_twice_counts_once(tmp_path: Path) -> None:
    row = Row(HOUR, "k", "m")
    with opened(tmp_path / NAME) as file:
        assert file.write(1, {row: Tally(requests=1)}, {}, MARK)
        assert not file.write(1, {row: Tally(requests=1)}, {}, MARK)
    assert rows_of(tmp_path / NAME) == {row: Tally(requests=1)}


def test_a_batch_that_cannot_be_written_leaves_nothing_of_itself(tmp_path: Path) -> None:
    good, bad = Row(HOUR, "k", "m"), Row(HOUR, "k", None)  # type: ignore[arg-type]
    with opened(tmp_path / NAME) as file:
        with pytest.raises(sqlite3.IntegrityError):
            file.write(1, {good: Tally(requests=1), bad: Tally(requests=1)}, {"k": COUNTS}, MARK)
        assert file.write(1, {good: Tally(requests=1)}, {}, MARK)
        assert file.quotas() == {}
    assert rows_of(tmp_path / NAME) == {good: Tally(requests=1)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_whatever_cuts_the_power_every_batch_counts_once(
    tmp_path_factory: pytest.TempPathFactory, plan: list[int]
) -> None:
    """A cut is a copy of the files as they are. 0: after the answer; 1: before it, so that the batch is
    handed in again; 2: before the batch.
    """
    root = tmp_path_factory.mktemp("cuts")
    path = root / "0" / NAME
    path.parent.mkdir()
    row = Row(HOUR, "k", "m")
    for number, cut in enumerate(plan, 1):
        file = UsageFile(path)
        if cut != 2:
            file.write(number, {row: Tally(requests=1)}, {}, MARK)
        after = root / str(number) / NAME
        shutil.copytree(path.parent, after.parent)
        file.close()
        path = after
        if cut:
            with opened(path) as again:
                assert again.write(number, {row: Tally(requests=1)}, {}, MARK) == (cut == 2)
    assert rows_of(path)[row].requests == len(plan)


def test_a_row_costs_at_most_500_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with opened(path) as file:
        for batch in range(20):
            rows = {
                Row(HOUR + batch, f"k{key:07}", f"library/some-model-{model}:8b-instruct-q4_k_m"): Tally(
                    requests=9, prompt_tokens=123456, output_tokens=34567, served_ms=456789, millijoules=10**7
                )
                for key in range(20)
                for model in range(5)
            }
            file.write(batch + 1, rows, {}, MARK)
    assert path.stat().st_size / 2000 <= 500


def test_a_batch_of_100_rows_writes_at_most_500_bytes_a_row_and_one_row_few_pages(tmp_path: Path) -> None:
    """By the log, which is all that a transaction writes; its pages go into the file once a thousand."""
    path = tmp_path / NAME
    wal = path.with_name(f"{NAME}-wal")
    with opened(path) as file:
        file.write(1, {Row(HOUR, "k", "m"): Tally(requests=1)}, {"k": COUNTS}, MARK)
        before = wal.stat().st_size
        file.write(2, {Row(HOUR, "k", "m"): Tally(requests=1)}, {"k": COUNTS}, MARK)
        assert wal.stat().st_size - before <= 5000
        before = wal.stat().st_size
        rows = {Row(HOUR, f"key{n:05}", "some/model:latest"): Tally(requests=1) for n in range(100)}
        file.write(3, rows, {}, MARK)
        assert (wal.stat().st_size - before) / 100 <= 500


def test_old_days_go_and_are_counted_by_days_not_by_the_date(tmp_path: Path) -> None:
    with opened(tmp_path / NAME) as file:
        hours = [24 * day for day in (0, 1, 20_000, 20_001, 20_002, 47_000)]
        file.write(1, {Row(hour, "k", "m"): Tally(requests=1) for hour in hours}, {}, MARK)
        assert file.prune(keep_days=4) == 2
        assert file.prune(keep_days=4) == 0
        assert file.prune(keep_days=90, most_rows=3) == 1
    assert [row.hour // 24 for row in rows_of(tmp_path / NAME)] == [20_001, 20_002, 47_000]


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_told_as_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(sqlite3.Error) as told:
        UsageFile(path)
    assert usage_file.is_damage(told.value)
    aside = usage_file.set_aside(path)
    assert aside.read_bytes()[:100] == content[:100]
    with opened(path) as file:
        assert file.batch() == 0


def test_a_file_of_another_form_is_not_written_to(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version=99")
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    with pytest.raises(sqlite3.DatabaseError, match="99"):
        UsageFile(tmp_path / NAME)


def test_numbers_beyond_sqlite_are_kept_as_the_most(tmp_path: Path) -> None:
    with opened(tmp_path / NAME) as file:
        file.write(1, {}, {"k": Counts(Arrival(10**30, 0))}, MARK)
        assert file.quotas()["k"].requests.ns == (1 << 63) - 1


def test_no_page_of_damage_goes_unnoticed_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with opened(path) as file:
        rows = {Row(HOUR, f"key{n:05}", "m"): Tally(requests=1) for n in range(500)}
        file.write(1, rows, {}, MARK)
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b"\xa5" * 2048, 4096)
    os.close(descriptor)
    with pytest.raises(sqlite3.DatabaseError) as told:
        UsageFile(path)
    assert usage_file.is_damage(told.value)
