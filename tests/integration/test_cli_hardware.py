"""`outpost hardware` as a program, of simulated boards and of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_board import NAMES, FakeBoard, load
from tests.integration.command_line import environment, one_line, outpost, run


def told(home: Path, *arguments: str) -> dict[str, Any]:
    done = outpost(None, home, "hardware", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_simulated_board_is_told_as_json(tmp_path: Path) -> None:
    FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"), seed=2)
    report = told(tmp_path, "--root", str(tmp_path / "board"))
    assert report["board"]["key"] == "orin-nano-8g"
    assert report["board"]["l4t"] == {"major": 36, "minor": 4, "patch": "3", "jetpack": "6.1"}
    assert report["power"]["input_watts"] == 5.588
    assert report["memory"]["budget_bytes"] == 6_100_000 * 1024
    assert report["is_throttled"] is False
    assert report["gpu"]["load"] == 0.0
    assert [zone["name"] for zone in report["thermal"]["zones"]] == [
        "cpu", "cv0", "cv1", "cv2", "gpu", "soc0", "soc1", "soc2", "tj",
    ]  # fmt: skip
    assert (report["jtop"], report["programs"], report["storage"]["data"]) == (None, [], None)


def test_a_simulated_board_is_told_in_words(tmp_path: Path) -> None:
    FakeBoard(tmp_path / "board", load("pi-4"), seed=2)
    done = outpost(None, tmp_path, "hardware", "--root", str(tmp_path / "board"))
    text = done.stdout
    assert done.returncode == 0
    assert (
        "board       Raspberry Pi 4, bcm2711, Linux 6.12.34+rpt-rpi-v8 (Raspberry Pi 4 Model B Rev 1.4)\n"
        in text
    )
    assert "throttled   YES: under-voltage, frequency capped, throttled by the firmware\n" in text
    assert "cpu    61.8 °C   critical 110\n" in text
    assert "  power.input_watts: no power sensor on this board\n" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_board_can_be_told_in_words(name: str, tmp_path: Path) -> None:
    FakeBoard(tmp_path / "board", load(name))
    done = outpost(None, tmp_path, "hardware", "--root", str(tmp_path / "board"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("board ")
    assert "None" not in done.stdout


def test_this_machine_needs_no_daemon(tmp_path: Path) -> None:
    report = told(tmp_path, "--data", str(tmp_path))
    assert report["memory"]["total_bytes"] > 0
    assert report["storage"]["data"]["free_bytes"] > 0
    assert report["programs"][0]["resident_bytes"] > 0
    assert report["reasons"]["jtop"].startswith("jtop: unavailable")


def test_what_was_captured_can_be_read(tmp_path: Path) -> None:
    FakeBoard(tmp_path / "board", load("thor-t5000-r38"), seed=2)
    where = ("--root", str(tmp_path / "board"))
    done = outpost(None, tmp_path, "hardware", *where, "capture", "fixture", "--json")
    counts = json.loads(done.stdout)
    assert counts["path"] == "fixture" and counts["files"] > 70 and counts["unreadable"] == 0
    assert told(tmp_path, "--root", "fixture") == told(tmp_path, *where)
    done = outpost(None, tmp_path, "hardware", *where, "capture", "fixture.tar")
    assert done.stdout.startswith("wrote ") and (tmp_path / "fixture.tar").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--root", "nowhere"), 66, "there is no directory 'nowhere' to read a board from"),
        (("captur", "x"), 64, "after hardware comes nothing, or: capture OUT; see: outpost hardware --help"),
        (("capture",), 64, "after hardware comes nothing, or: capture OUT; see: outpost hardware --help"),
        (("capture", "."), 65, "'.' exists already; name a new directory or .tar"),
        (
            ("capture", "/proc/x/y"),
            74,
            "'/proc/x/y' cannot be written: No such file or directory; name another place",
        ),
    ],
)
def test_mistakes_end_in_one_line(arguments: tuple[str, ...], code: int, why: str, tmp_path: Path) -> None:
    done = outpost(None, tmp_path, "hardware", *arguments)
    assert (done.returncode, one_line(done.stderr)) == (code, why)


def test_what_a_board_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    board = FakeBoard(tmp_path / "board", load("pi-5"))
    board.write_bytes("sys/firmware/devicetree/base/model", b"\x1b]0;owned\x07Pi\n\x1b[2J\0")
    board.write(f"{board.place('cpu-thermal')}/type", "\x1b[31mcpu")
    done = run("hardware", "--root", str(tmp_path / "board"), env=environment(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
