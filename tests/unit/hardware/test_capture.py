from __future__ import annotations

import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.hardware.capture import capture, write
from appliance.hardware.redaction import Redactor
from appliance.hardware.report import sample
from appliance.hardware.root import ERRNO_TABLE, Root
from tests.fakes.fake_board import NAMES, FakeBoard, from_capture, load


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_board_gives_the_same_report(name: str, tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load(name), seed=5)
    write(capture(board.root), tmp_path / "captured")
    again = sample(from_capture(tmp_path / "captured", tmp_path / "again"))
    assert again == sample(board.root)


def test_a_tar_is_as_good_as_a_directory(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r35"), seed=5)
    write(capture(board.root), tmp_path / "board.tar")
    with tarfile.open(tmp_path / "board.tar") as archive:
        members = archive.getmembers()
    assert all(member.isreg() or member.isdir() for member in members)
    assert {(member.uid, member.mtime) for member in members} == {(0, 0)}
    assert sample(from_capture(tmp_path / "board.tar", tmp_path / "again")) == sample(board.root)


def test_files_that_could_not_be_read_are_there_with_their_error(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"))
    found = capture(board.root)
    assert sorted(found.errors.values()) == ["EAGAIN", "EAGAIN", "EAGAIN"]
    assert all(found.files[path] == b"" for path in found.errors)


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    found = capture(Root(tmp_path / "none"))
    (tmp_path / "there.tar").write_text("mine")
    (tmp_path / "there").mkdir()
    for name in ("there.tar", "there"):
        with pytest.raises(FileExistsError):
            write(found, tmp_path / name)
    assert (tmp_path / "there.tar").read_text() == "mine"


SECRETS = {
    "etc/hostname": "kiosk-17",
    "etc/machine-id": "0123456789abcdef0123456789abcdef",
    "sys/firmware/devicetree/base/serial-number": "1421323004567",
    "sys/class/net/eth0/address": "48:b0:2d:aa:bb:cc",
    "sys/class/dmi/id/product_uuid": "4c4c4544-0051-3510-8052-b4c04f4e3732",
    "sys/block/mmcblk0/device/cid": "1501003447344d",
}


def test_nothing_secret_of_a_board_is_in_its_capture(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load("orin-nano-8g-r35"))
    for path, secret in SECRETS.items():
        board.write(path, secret)
    board.write("proc/self/cgroup", f"0::/box/{'ab' * 32}\n")
    board.write(f"sys/fs/cgroup/box/{'ab' * 32}/memory.max", 1 << 30)
    board.write("proc/self/status", "Name:\toutpost\nUid:\t1000\nCpus_allowed_list:\t0-5\n")
    board.write("proc/swaps", "Filename Type Size Used Priority\n/home/joan/kiosk-17.swap file 1000 0 -2\n")
    board.write(
        "proc/cpuinfo", "processor\t: 0\nSerial\t\t: 10000000abcdef12\nModel\t\t: a 48:b0:2d:aa:bb:cc\n"
    )
    found = capture(board.root)
    whole = "\n".join(found.files) + "".join(data.decode() for data in found.files.values())
    assert [
        secret for secret in (*SECRETS.values(), "joan", "abab", "10000000abc", "Uid") if secret in whole
    ] == []
    assert found.files["proc/self/status"] == b"Cpus_allowed_list:\t0-5\n"
    assert found.files["proc/cpuinfo"] == b"processor\t: 0\nSerial\t\t: redacted\nModel\t\t: a redacted\n"
    assert found.redacted >= 5
    write(found, tmp_path / "captured")
    report = sample(Root(tmp_path / "captured"))
    assert report.memory.limit is not None and report.memory.limit.limit_bytes == 1 << 30
    assert (report.board.key, report.memory.swaps[0].name) == ("orin-nano-8g", "/home/redacted/redacted.swap")


def test_a_machine_with_the_name_of_a_board_keeps_its_board(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load("pi-5"))
    for name in ("raspberrypi", "cpu-thermal", "sys", "ab"):
        board.write("etc/hostname", name)
        found = capture(board.root)
        files = {path: data for path, data in found.files.items() if path.endswith(("compatible", "/type"))}
        assert b"raspberrypi,5-model-b\0brcm,bcm2712\0" in files.values()
        assert b"cpu-thermal\n" in files.values()


def test_values_that_are_no_secret_are_left(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path, load("pc-bare"))
    board.write("sys/class/net/lo/address", "00:00:00:00:00:00")
    board.write("etc/hostname", "localhost")
    board.write("sys/class/dmi/id/board_serial", "Default string")
    redactor = Redactor(board.root)
    assert redactor.words("localhost is Default string") == "localhost is Default string"


def test_this_machine_can_be_captured(tmp_path: Path) -> None:
    write(capture(Root()), tmp_path / "here")
    table = json.loads((tmp_path / "here" / ERRNO_TABLE).read_text())
    assert all(re.fullmatch("E[A-Z0-9]+", name) for name in table.values())
    here, there = sample(Root()), sample(Root(tmp_path / "here"))
    assert replace(there.board, reasons={}) == replace(here.board, reasons={})
    assert there.memory.total_bytes == here.memory.total_bytes
    assert there.cpu.online == here.cpu.online
