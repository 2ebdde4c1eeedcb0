from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import InvalidRequest
from appliance.planner import boards
from appliance.planner.facts import Accelerator

WHOLE = """
name = "A board"
[memory]
total_kib = 1000
available_kib = 900
bandwidth_bytes_per_s = 5
[cpu]
features = ["neon", "dotprod"]
[gpu]
accelerator = "unified"
name = "A GPU"
[sources]
"memory.total_kib" = "a label"
"""


def refusal(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        boards.parse(text, what="x")
    return caught.value.message


def test_a_board_has_its_facts_in_bytes() -> None:
    board = boards.parse(WHOLE, what="x")
    assert (board.name, board.gpu, board.accelerator) == ("A board", "A GPU", Accelerator.UNIFIED)
    assert (board.total_bytes, board.available_bytes, board.bandwidth_bytes_per_s) == (1_024_000, 921_600, 5)
    assert board.cpu_features == {"neon", "dotprod"}
    assert (board.reading.total_bytes, board.reading.cgroup_limit_bytes) == (1_024_000, None)


def test_what_need_not_be_said_is_unknown() -> None:
    board = boards.parse("[memory]\ntotal_kib = 2\navailable_kib = 1\n", what="x")
    assert (board.name, board.gpu, board.bandwidth_bytes_per_s) == ("x", None, None)
    assert board.accelerator == Accelerator.NONE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "it is no TOML"),
        ("a = " + "[" * 5000, "it is no TOML"),
        ("", "memory.total_kib must be a number of KiB, not None"),
        (WHOLE.replace("1000", "true"), "memory.total_kib must be a number of KiB, not True"),
        (WHOLE.replace("1000", "-1"), "not -1"),
        (WHOLE.replace("1000", '"1000"'), "not '1000'"),
        (WHOLE.replace("1000", str(1 << 60)), "memory.total_kib must be a number of KiB"),
        (WHOLE.replace("900", "1001"), "more memory is available than there is"),
        (WHOLE.replace("bandwidth_bytes_per_s = 5", "bandwidth = 5"), "[memory] may have"),
        (WHOLE.replace("= 5", "= 0"), "memory.bandwidth_bytes_per_s must be bytes a second"),
        (WHOLE.replace('"unified"', '"shared"'), "one of none, unified, discrete, not 'shared'"),
        (WHOLE.replace('"unified"', "[]"), "not []"),
        (WHOLE.replace('"dotprod"', '"mmx"'), "cpu.features must be a list of avx2"),
        (WHOLE.replace('["neon", "dotprod"]', '"neon"'), "cpu.features must be a list"),
        (WHOLE.replace('"dotprod"', "[1]"), "cpu.features must be a list"),
        ("cpu = 7", "[cpu] may have"),
        (WHOLE.replace('"A GPU"', "7"), "name must be text, not 7"),
        (WHOLE.replace('"a label"', "7"), "[sources] must be texts"),
        ("memory = 7", "[memory] may have"),
        ("sources = 7\n[memory]\ntotal_kib = 2\navailable_kib = 1\n", "[sources] must be texts"),
    ],
)
def test_what_is_no_board_is_refused_with_the_reason(text: str, told: str) -> None:
    assert told in refusal(text)


@pytest.mark.parametrize("name", boards.names())
def test_every_fact_of_a_shipped_board_names_its_source(name: str) -> None:
    board = boards.find(name)
    facts = {"memory.total_kib", "memory.available_kib", "gpu.accelerator", "cpu.features"}
    if board.bandwidth_bytes_per_s is not None:
        facts.add("memory.bandwidth_bytes_per_s")
    assert set(board.sources) == facts
    assert all(board.sources.values())
    assert board.available_bytes < board.total_bytes
    assert (board.gpu is None) == (board.accelerator is Accelerator.NONE)


def test_the_boards_that_are_promised_are_there() -> None:
    assert boards.names() == [
        "agx-orin-64gb",
        "n100-16gb",
        "nano-4gb",
        "orin-nano-8gb",
        "orin-nx-16gb",
        "pi-4-8gb",
        "pi-5-16gb",
        "pi-5-8gb",
        "rk3588-16gb",
        "thor-128gb",
        "xavier-nx-8gb",
    ]


def test_a_board_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE, encoding="utf-8")
    assert boards.find(str(path)).name == "A board"


def test_the_operators_board_is_found_before_ours(tmp_path: Path) -> None:
    (tmp_path / "orin-nano-8gb.toml").write_text(WHOLE, encoding="utf-8")
    assert boards.find("orin-nano-8gb", (tmp_path, *boards.PLACES)).name == "A board"


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no board 'toaster'; there are agx-orin-64gb, n100-16gb"):
        boards.find("toaster")
    with pytest.raises(InvalidRequest, match="there are none"):
        boards.find("toaster", (tmp_path,))


@pytest.mark.parametrize("name", ["../secret.toml", "/nowhere/x.toml", "a\0b", "/", "x" * 5000])
def test_a_path_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        boards.find(name)


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        boards.find(str(path))
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(InvalidRequest, match="more than 65536 bytes"):
        boards.find(str(path))
