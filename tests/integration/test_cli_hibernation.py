"""`outpost hibernation` as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.command_line import one_line, outpost

pytestmark = pytest.mark.integration


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / ".outpost"
    for model, name in (("a", "1.kv"), ("a", "2.kv"), ("b", "3.kv")):
        path = directory / "hibernation" / model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    return directory


def test_it_shows_and_clears_what_is_on_disk(tmp_path: Path, data: Path) -> None:
    shown = outpost(None, tmp_path, "hibernation", "show")
    assert (shown.returncode, shown.stdout) == (0, "on disk: 3 snapshots of 2 models, 3.0 kB\n")
    cleared = outpost(None, tmp_path, "hibernation", "clear", "--data", str(data), "--json")
    assert json.loads(cleared.stdout) == {"snapshots": 3, "size_bytes": 3000, "models": 2}
    assert not list(data.rglob("*.kv"))
    again = outpost(None, tmp_path, "hibernation", "clear")
    assert again.stdout == "removed 0 snapshots of 0 models, 0 B\n"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    told = outpost(None, tmp_path, "hibernation", "clear", "--data", "nowhere")
    assert told.returncode == 66
    assert one_line(told.stderr) == "nowhere: no such data directory"


def test_another_word_is_a_wrong_usage(tmp_path: Path) -> None:
    assert outpost(None, tmp_path, "hibernation", "burn").returncode == 64
