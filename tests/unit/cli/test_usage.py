"""`outpost usage`: rows for people and for programs, without what no row has."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.access.account_clock import Mark
from appliance.access.usage import Row, Tally
from appliance.access.usage_file import NAME, UsageFile
from appliance.cli import usage
from appliance.cli.exits import Exit, Failure
from appliance.cli.parser import parse

MARK = Mark(account_ns=0, wall_ns=0, boot="", boottime_ns=0)
HOUR = 490_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = UsageFile(tmp_path / NAME)
    tallies = {
        Row(HOUR, "k1", "tiny"): Tally(
            requests=3, errors=1, prompt_tokens=30, output_tokens=9, served_ms=1500
        ),
        Row(HOUR + 25, "k1", "tiny"): Tally(requests=1, prompt_tokens=2, millijoules=2500),
        Row(HOUR + 25, "k2", "\x1b[31mred"): Tally(requests=5),
    }
    file.write(1, tallies, {}, MARK)
    file.close()
    return tmp_path


def asked(data: Path, *words: str) -> argparse.Namespace:
    arguments = argparse.Namespace(json=False)
    parse(["usage", "--data", str(data), *words], arguments)
    return arguments


def told(capsys: pytest.CaptureFixture[str], data: Path, *words: str) -> str:
    assert usage.main(asked(data, *words)) == Exit.OK
    return capsys.readouterr().out


def test_a_table_has_the_columns_that_there_are(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, data).splitlines()
    assert lines[0].split() == [
        "KEY", "MODEL", "REQUESTS", "ERRORS", "PROMPT", "CACHED", "OUTPUT", "SERVED", "ENERGY",
    ]  # fmt: skip
    assert lines[1].split() == ["k1", "tiny", "4", "1", "32", "0", "9", "1.50s", "2.5", "J"]
    assert "\x1b" not in lines[2]


def test_days_are_told_in_utc(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, data, "--by", "day").splitlines()
    assert [line.split()[0] for line in lines] == ["TIME", "2025-11-24", "2025-11-25"]


def test_json_and_csv_say_the_same(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = json.loads(told(capsys, data, "--json", "--key", "k1"))["data"]
    (line,) = csv.DictReader(io.StringIO(told(capsys, data, "--csv", "--key", "k1")))
    assert rows == [
        {
            "key": "k1",
            "model": "tiny",
            "requests": 4,
            "errors": 1,
            "prompt_tokens": 32,
            "cached_tokens": 0,
            "output_tokens": 9,
            "served_s": 1.5,
            "joules": 2.5,
        }
    ]
    assert {name: str(value) for name, value in rows[0].items()} == {
        name: value for name, value in line.items() if name != "time"
    }


def test_where_nothing_was_asked_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, tmp_path) == "nothing was asked\n"
    assert told(capsys, tmp_path, "--csv").splitlines() == [",".join(usage.COLUMNS)]


def test_old_hours_are_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, data, "--since", "1h") == "nothing was asked\n"


@pytest.mark.parametrize("words", [("--by", "x"), ("--since", "soon"), ("--since", "5m")])
def test_wrong_words_are_a_failure(data: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(Failure) as failure:
        usage.main(asked(data, *words))
    assert failure.value.exit_code == Exit.DATA


def test_a_damaged_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"nothing that SQLite would know" * 100)
    with pytest.raises(Failure) as failure:
        usage.main(asked(tmp_path))
    assert failure.value.exit_code == Exit.DISK
