"""The same commands against another box: over TCP with a key, and over TLS with an authority of one's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.cli.parser import build
from appliance.daemon.snapshots import Snapshots
from appliance.hardware.report import sample
from tests.fakes.fake_board import FakeBoard, load
from tests.fakes.fake_inference import MODEL
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.fakes.tls import write_pem
from tests.fakes.tls_front import TlsFront
from tests.integration.api_door import opened
from tests.integration.command_line import environment, one_line, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

KEY = generate()
OF_THIS_MACHINE = {"audit", "serve"}
BY_OPTION_ONLY = {"hardware", "hibernation", "version"}
"""They need no daemon here, so only --host sends them elsewhere."""
READING: dict[str, list[str]] = {
    "run": [MODEL, "hi there", "--json"],
    "ps": ["--json"],
    "queue": ["--json"],
    "health": ["--json"],
    "list": ["--json"],
    "show": ["tiny", "--json"],
    "verify": ["--json"],
    "bench": [MODEL, "--clients", "1", "--repeats", "1", "--json"],
    "version": ["--json"],
    "fit": [MODEL, "--json"],
    "hardware": ["--json"],
    "hibernation": ["show", "--json"],
}


@dataclass
class Box:
    """A door that asks for a key, and the files that one needs for it."""

    home: Path
    address: str
    url: str
    port: int
    key_file: Path
    store: FakeStoreVerbs

    def outpost(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, env=environment(self.home, **env), cwd=self.home)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    ring = KeyRing({KEY.key_id: StoredKey(sha256=KEY.sha256, scopes=frozenset(Scope))})
    key_file = tmp_path / "box.key"
    key_file.write_text(f"{KEY.text}\n")
    store = FakeStoreVerbs()
    board = FakeBoard(tmp_path / "board", load("orin-nano-8g-r36"))
    snapshots = Snapshots(tmp_path)
    with opened(keys=ring, store=store, board=lambda: sample(board.root), snapshots=snapshots) as door:
        address = door.url.removeprefix("http://")
        yield Box(tmp_path, address, door.url, door.server.address[1], key_file, store)


@pytest.fixture
def tls(box: Box) -> Iterator[tuple[str, Path]]:
    """An https address, and the file of its authority."""
    pem = write_pem(box.home)
    with TlsFront(("127.0.0.1", box.port), pem) as front:
        yield front.url, pem


def test_every_command_can_be_sent_to_another_box_unless_it_is_about_this_machine() -> None:
    _, commands = build()
    for name, parser in commands.items():
        options = {option for action in parser._actions for option in action.option_strings}
        has = {"--host", "--key-file", "--ca-file", "--timeout", "--data"} <= options
        assert has or name in OF_THIS_MACHINE, name


@pytest.mark.parametrize("command", READING)
def test_a_command_reads_another_box_with_host_and_key_file(box: Box, command: str) -> None:
    where = ("--host", box.address, "--key-file", str(box.key_file))
    done = box.outpost(command, *READING[command], *where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", sorted(set(READING) - BY_OPTION_ONLY))
def test_the_same_by_the_environment(box: Box, command: str) -> None:
    done = box.outpost(command, *READING[command], OUTPOST_HOST=box.address, OUTPOST_API_KEY=KEY.text)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted(set(READING) - {"health", "version"}))
def test_without_its_key_a_command_ends_with_77_and_says_where_keys_come_from(box: Box, command: str) -> None:
    done = box.outpost(command, *READING[command], "--host", box.address)
    assert done.returncode == 77
    assert "--key-file" in one_line(done.stderr)


def test_hardware_tells_of_the_other_board_in_words(box: Box) -> None:
    done = box.outpost("hardware", "--host", box.address, "--key-file", str(box.key_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("board       Jetson Orin Nano")
    assert "\npower       5.59 W" in done.stdout
    wrong = box.outpost("hardware", "--host", box.address, "--root", ".")
    assert wrong.returncode == 64


def test_prompts_on_the_disk_of_another_box_are_counted_and_removed(box: Box) -> None:
    where = ("--host", box.address, "--key-file", str(box.key_file))
    directory = box.home / "hibernation" / "ab"
    directory.mkdir(parents=True)
    (directory / "one.kv").write_bytes(bytes(2_000_000))
    shown = box.outpost("hibernation", "show", *where)
    assert shown.stdout == "on disk: 1 snapshot of 1 model, 2.0 MB\n"
    assert box.outpost("hibernation", "clear", *where).returncode == 0
    assert list(directory.iterdir()) == []
    assert box.outpost("hibernation", "clear", *where, "--data", ".").returncode == 64


def test_version_tells_both(box: Box) -> None:
    done = box.outpost("version", "--host", box.address)
    ours, theirs = done.stdout.splitlines()
    assert ours.startswith("outpost ")
    assert theirs.startswith(f"{box.url}: ")


@pytest.mark.parametrize("command", READING)
def test_a_command_reads_a_box_over_tls(box: Box, tls: tuple[str, Path], command: str) -> None:
    url, pem = tls
    where = ("--host", url, "--key-file", str(box.key_file), "--ca-file", str(pem))
    done = box.outpost(command, *READING[command], *where)
    assert done.returncode == 0, done.stderr


def test_the_authority_may_come_from_the_environment(box: Box, tls: tuple[str, Path]) -> None:
    url, pem = tls
    done = box.outpost("health", OUTPOST_HOST=url, OUTPOST_CA_FILE=str(pem))
    assert done.returncode == 0, done.stderr
    assert box.outpost("health", OUTPOST_HOST=box.address, OUTPOST_CA_FILE=str(pem)).returncode == 0


def test_a_box_whose_authority_nobody_named_gets_no_key(box: Box, tls: tuple[str, Path]) -> None:
    done = box.outpost("list", "--host", tls[0], "--key-file", str(box.key_file))
    assert done.returncode == 69
    assert "--ca-file" in one_line(done.stderr)
    assert box.store.calls == []


def test_a_certificate_for_another_name_is_refused(box: Box, tls: tuple[str, Path]) -> None:
    url, pem = tls
    done = box.outpost("health", "--host", url.replace("localhost", "127.0.0.1"), "--ca-file", str(pem))
    assert done.returncode == 69
    assert "mismatch" in one_line(done.stderr)


def test_an_authority_for_an_address_without_tls_is_refused(box: Box, tls: tuple[str, Path]) -> None:
    done = box.outpost("health", "--host", box.address, "--ca-file", str(tls[1]))
    assert done.returncode == 64
    assert "https" in one_line(done.stderr)


@pytest.mark.parametrize(("content", "code"), [(None, 66), ("no certificate", 65)])
def test_a_file_that_is_no_authority_is_told(
    box: Box, tls: tuple[str, Path], content: str | None, code: int
) -> None:
    file = box.home / "ca.pem"
    if content is not None:
        file.write_text(content)
    done = box.outpost("health", "--host", tls[0], "--ca-file", str(file))
    assert done.returncode == code
    assert str(file) in one_line(done.stderr)
