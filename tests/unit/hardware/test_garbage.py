"""Whatever stands in a file: no reader raises, and what it then lacks has a reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hardware.report import sample
from appliance.hardware.root import Root
from hil.contract import unexplained
from tests.fakes.fake_board import FakeBoard, load

RICH = ("agx-orin-64g-r36", "nano-r32", "pi-5", "pc-n100", "orangepi-5-vendor", "vm")
"""Together they have every kind of file."""
GARBAGE = (
    b"",
    b"\0",
    b"\xff" * 64,
    b"nan\n",
    b"-1\n",
    b"9223372036854775807\n",
    b"1e300\n",
    b"0-99999999999,5-1\n",
    b"< POWER_MODEL ID=99999 NAME= >\n",
    b"x" * 200_000,
    "° ١٢٣ ²\n".encode(),
    b"cpu0 1\ncpu1 a b c d e\n",
    b"MemTotal: 99999999999999999999 kB\nMemAvailable: -5 kB\n",
    b"Filename Type Size Used Priority\n/dev/x partition -1 x 5\n",
    b"some avg10=nan total=1\nfull avg10=1e9 total=-1\n",
    b"0::/../../etc\n7:memory,cpu:/a/../..\nx\n",
)
ERRORS = sorted(errno.errorcode.values())


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[FakeBoard, list[Path]]]:
    made = []
    for name in RICH:
        board = FakeBoard(tmp_path_factory.mktemp(name) / "tree", load(name))
        made.append((board, sorted(path for path in board.top.rglob("*") if path.is_file())))
    return made


@settings(max_examples=150)
@given(
    place=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
    text=st.sampled_from(GARBAGE) | st.binary(),
)
def test_garbage_in_any_one_file(
    boards: list[tuple[FakeBoard, list[Path]]], place: tuple[int, int], text: bytes
) -> None:
    board, files = boards[place[0] % len(boards)]
    file = files[place[1] % len(files)]
    before = file.read_bytes()
    try:
        file.write_bytes(text)
        assert unexplained(sample(board.root)) == []
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("name", RICH)
def test_the_same_garbage_in_all_files(name: str, text: bytes, tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load(name))
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "type":  # zones and cooling devices without a type are left out
            file.write_bytes(text)
    report = sample(board.root)
    assert unexplained(report) == []
    assert report.power.input_watts is None or report.power.input_watts >= 0


@settings(max_examples=100)
@given(place=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), name=st.sampled_from(ERRORS))
def test_any_error_of_any_file(
    boards: list[tuple[FakeBoard, list[Path]]], place: tuple[int, int], name: str
) -> None:
    board, files = boards[place[0] % len(boards)]
    file = files[place[1] % len(files)]
    path, before = str(file.relative_to(board.top)), file.read_bytes()
    try:
        board.fail(path, name)
        assert unexplained(sample(board.root)) == []
    finally:
        board.write_bytes(path, before)


@pytest.mark.parametrize("name", RICH)
def test_directories_in_place_of_files(name: str, tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load(name))
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        file.unlink()
        file.mkdir()
    assert unexplained(sample(board.root)) == []


@pytest.mark.timeout(5)
@pytest.mark.parametrize("name", RICH)
def test_pipes_in_place_of_files(name: str, tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load(name))
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        file.unlink()
        os.mkfifo(file)
    assert unexplained(sample(board.root)) == []


def test_an_empty_tree_is_a_board_of_which_nothing_is_known(tmp_path: Path) -> None:
    report = sample(Root(tmp_path / "none"))
    assert unexplained(report) == []
    assert (report.board.key, report.memory.total_bytes, report.is_throttled) == (None, None, None)
    assert report.cpu.usable_big_cores == 1
