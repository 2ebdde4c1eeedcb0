from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hardware.root import ERRNO_TABLE, MOST_BYTES, Absent, Reason, Reasons, Root, whole


def reason(value: object) -> str:
    assert isinstance(value, Absent)
    return value.reason


def test_a_value_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("49500\n")
    root = Root(tmp_path)
    assert root.text("temp") == "49500"
    assert root.integer("temp") == 49500


def test_a_file_is_opened_anew_at_each_read(tmp_path: Path) -> None:
    root = Root(tmp_path)
    (tmp_path / "temp").write_text("1\n")
    assert root.integer("temp") == 1
    (tmp_path / "new").write_text("2\n")
    (tmp_path / "new").rename(tmp_path / "temp")
    assert root.integer("temp") == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"12x\n", Reason.NOT_A_NUMBER),
        (b"1 2\n", Reason.NOT_A_NUMBER),
        ("١٢".encode(), Reason.NOT_A_NUMBER),
        (b"9" * 5000, Reason.NOT_A_NUMBER),
        (b"\xff\xfe\n", Reason.NOT_TEXT),
        (b"a\0b\n", Reason.NOT_TEXT),
        (b"1" * (MOST_BYTES + 1), Reason.TOO_LARGE),
    ],
)
def test_what_is_no_number_is_absent_with_its_reason(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(data)
    assert reason(Root(tmp_path).integer("value")) == why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none", Reason.NOT_THERE),
        ("folder", Reason.NOT_A_FILE),
        ("file/x", Reason.NOT_THERE),
        ("a\0b", Reason.NOT_THERE),
    ],
)
def test_what_is_no_file_is_absent_with_its_reason(path: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("1")
    assert reason(Root(tmp_path).text(path)) == why


def test_a_name_too_long_for_the_system_is_absent(tmp_path: Path) -> None:
    value = Root(tmp_path).text("x" * 5000)
    assert str(value).endswith(": reading fails (ENAMETOOLONG)")


@pytest.mark.timeout(5)
def test_a_pipe_and_a_device_do_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    root = Root(tmp_path)
    assert reason(root.text("pipe")) == Reason.NOT_A_FILE
    assert reason(root.text("endless")) == Reason.NOT_A_FILE
    assert reason(Root().text("dev/zero")) == Reason.NOT_A_FILE


def test_links_stay_within_a_simulated_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("1\n")
    top = tmp_path / "top"
    (top / "sys/devices").mkdir(parents=True)
    (top / "sys/devices/load").write_text("625\n")
    (top / "sys/gpu").symlink_to("devices")
    (top / "sys/out").symlink_to(outside)
    (top / "sys/loop").symlink_to("loop")
    (top / "sys/near").symlink_to("../../top2")
    (tmp_path / "top2").write_text("7\n")
    root = Root(top)
    assert root.integer("sys/gpu/load") == 625
    assert reason(root.integer("sys/out/secret")) == Reason.OUTSIDE
    assert reason(root.integer("../outside/secret")) == Reason.OUTSIDE
    assert reason(root.integer("sys/near")) == Reason.OUTSIDE
    assert reason(root.names("sys/out")) == Reason.OUTSIDE
    assert root.glob("sys/out/*") == ()
    assert isinstance(root.text("sys/loop"), Absent)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("EAGAIN", "no value now (EAGAIN)"),
        ("EACCES", "this user may not read it"),
        ("EIO", "reading fails (EIO)"),
        ("EOPNOTSUPP", "reading fails (ENOTSUP)"),
        ("NONSENSE", "reading fails (EIO)"),
    ],
)
def test_the_table_beside_the_tree_makes_reading_fail(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("1\n")
    (tmp_path / ERRNO_TABLE).write_text(json.dumps({"/temp": name}))
    root = Root(tmp_path)
    assert str(root.text("temp")) in {f"/temp: {why}", "/temp: reading fails (EOPNOTSUPP)"}
    assert root.has("temp")
    (tmp_path / ERRNO_TABLE).unlink()
    assert root.integer("temp") == 1


@pytest.mark.parametrize("table", ["", "[]", "{", '{"temp": 5}', "[" * 100_000])
def test_a_broken_table_fails_nothing_else(table: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("1\n")
    (tmp_path / ERRNO_TABLE).write_text(table)
    assert Root(tmp_path).integer("other") == 1


def test_properties_of_the_device_tree_end_in_nul(tmp_path: Path) -> None:
    (tmp_path / "compatible").write_bytes(b"nvidia,p3767-0005\0nvidia,tegra234\0")
    (tmp_path / "nothing").write_bytes(b"\0")
    (tmp_path / "cells").write_bytes(b"\0\0\xd0\x0d\0")
    root = Root(tmp_path)
    assert root.strings("compatible") == ("nvidia,p3767-0005", "nvidia,tegra234")
    assert reason(root.strings("nothing")) == Reason.EMPTY
    assert reason(root.strings("cells")) == Reason.NOT_TEXT


def test_words_of_a_file_are_all_numbers_or_none_is(tmp_path: Path) -> None:
    (tmp_path / "cpus").write_text("0 1 2 3\n")
    (tmp_path / "odd").write_text("0 1 x\n")
    root = Root(tmp_path)
    assert root.integers("cpus") == (0, 1, 2, 3)
    assert reason(root.integers("odd")) == Reason.NOT_A_NUMBER


def test_a_pattern_matches_within_names_only(tmp_path: Path) -> None:
    for path in ("a/x1/v", "a/x2/v", "a/y/v", "a/x3"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / path).exists():
            (tmp_path / path).write_text("1")
    root = Root(tmp_path)
    assert root.glob("a/x*/v") == ("a/x1/v", "a/x2/v")
    assert root.glob("a/*") == ("a/x1", "a/x2", "a/x3", "a/y")
    assert root.glob("a/[y]/v") == ("a/y/v",)
    assert root.glob("a/y/v") == ("a/y/v",)
    assert root.glob("b/*/v") == ()


def test_the_machine_itself_has_no_table_and_no_bound_for_links() -> None:
    root = Root()
    assert root.is_machine
    assert isinstance(root.text("proc/self/status"), str)
    assert isinstance(root.text("proc/meminfo"), str)
    assert Root.of(root) is root


def test_a_reason_is_noted_by_field() -> None:
    reasons = Reasons()
    assert reasons.known("load", Absent(path="sys/load", reason="off")) is None
    assert reasons.known("hertz", 5) == 5
    assert reasons.known("why", Absent(path="", reason="no GPU")) is None
    assert reasons == {"load": "/sys/load: off", "why": "no GPU"}


@given(st.text())
def test_a_whole_number_has_at_most_19_digits(text: str) -> None:
    number = whole(text)
    assert number is None or abs(number) < 10**19


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_raise(data: bytes) -> None:
    path = Path("/dev/shm") / f"outpost-root-{os.getpid()}"
    path.mkdir(exist_ok=True)
    (path / "value").write_bytes(data)
    root = Root(path)
    try:
        for read in (root.text, root.integer, root.integers, root.strings):
            assert read("value") is not None
    finally:
        (path / "value").unlink()
        path.rmdir()
