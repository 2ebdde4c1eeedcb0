"""Whoever asked is gone: the child that worked for it ends within a second, and nothing half is listed.

The children are real. Each is stopped (SIGSTOP) as soon as it is itself, so that it never ends by itself.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.daemon import Daemon
from tests.fakes.model_files import generator
from tests.integration.supervisor.conftest import eventually

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(120)]

REACHED_S: Final = 1.0
OUTPOST: Final = Path(sys.executable).with_name("outpost")


@dataclass(frozen=True)
class Work:
    """A verb that has a child: in the operation's words, and in those of the command line."""

    body: Mapping[str, Any]
    words: tuple[str, ...]
    says: str
    """The news of the child's part."""

    def __str__(self) -> str:
        return str(self.body["verb"])


RECIPE: Final = f"FROM {generator()}\n"
PROBE: Final = Work(
    {"verb": "import", "path": str(generator()), "name": "tiny"},
    ("import", str(generator()), "tiny"),
    "validating GGUF model",
)
QUANTISER: Final = Work(
    {"verb": "create", "name": "tiny", "modelfile": RECIPE, "base_dir": "/", "quantize": "q8_0"},
    ("create", "tiny", "-f", "-", "-q", "q8_0"),
    "quantizing F32 model to q8_0",
)
both = pytest.mark.parametrize("work", [PROBE, QUANTISER], ids=str)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "one", models={}) as running:
        yield running


def stopped_child(parent: int) -> psutil.Process:
    """The first child that `parent` makes, which goes no further."""
    process = psutil.Process(parent)
    eventually(lambda: any(map(is_itself, process.children())), within_s=20.0)
    (child,) = process.children()
    child.suspend()
    return child


def is_itself(child: psutil.Process) -> bool:
    """It has its name, and a moment later its tie to its parent; before it is a copy of that."""
    if not child.name().startswith("outpost-"):
        return False
    time.sleep(0.02)
    return True


def ends(child: psutil.Process, *, since_s: float, is_orphan: bool = False) -> None:
    """Killed, and reaped where its parent lives: not even a zombie is left."""
    eventually(lambda: is_gone(child) or (is_orphan and is_zombie(child)), within_s=10.0)
    assert time.monotonic() - since_s < REACHED_S


def is_gone(child: psutil.Process) -> bool:
    return not psutil.pid_exists(child.pid)


def is_zombie(child: psutil.Process) -> bool:
    try:
        return child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def started(work: Work, data: Path) -> subprocess.Popen[str]:
    """The command, on the store of `data` or by the daemon that runs there."""
    verb, *rest = work.words
    command = subprocess.Popen(
        [str(OUTPOST), verb, "--data", str(data), *rest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdin is not None
    command.stdin.write(RECIPE)
    command.stdin.close()
    command.stdin = None
    return command


def leftovers(data: Path) -> list[str]:
    """All that is neither a whole blob nor the store's own."""
    store = data / "store"
    return [path.name for folder in ("ingest", "quarantine") for path in (store / folder).iterdir()]


def listed(daemon: Daemon) -> list[str]:
    models = json.loads(daemon.get("/outpost/v1/models"))["models"]
    return [model["name"] for model in models]


@both
def test_a_client_that_hangs_up_ends_the_child(daemon: Daemon, work: Work) -> None:
    with httpx.stream(
        "POST", f"{daemon.url}/outpost/v1/operations", json=dict(work.body), timeout=30, trust_env=False
    ) as answer:
        child = stopped_child(daemon.pid)
        lines = answer.iter_lines()
        while work.says not in next(lines):
            continue
        hung_up_s = time.monotonic()
    ends(child, since_s=hung_up_s)
    eventually(lambda: not leftovers(daemon.data))
    assert not listed(daemon)
    again = httpx.post(
        f"{daemon.url}/outpost/v1/operations", json=dict(work.body), timeout=60, trust_env=False
    )
    assert json.loads(again.text.splitlines()[-1])["status"] == "success"
    assert listed(daemon) == ["tiny:latest"]


@both
def test_ctrl_c_at_the_command_line_ends_the_child_of_the_daemon(daemon: Daemon, work: Work) -> None:
    command = started(work, daemon.data)
    child = stopped_child(daemon.pid)
    time.sleep(0.5)
    pressed_s = time.monotonic()
    command.send_signal(signal.SIGINT)
    ends(child, since_s=pressed_s)
    _, told = command.communicate(timeout=10)
    assert command.returncode == 130
    assert "the next try goes on from there" in told
    eventually(lambda: not leftovers(daemon.data))
    assert not listed(daemon)


@both
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_without_a_daemon_takes_its_child_along(
    tmp_path: Path, work: Work, number: signal.Signals
) -> None:
    (tmp_path / "store").mkdir()
    command = started(work, tmp_path)
    child = stopped_child(command.pid)
    time.sleep(0.5)
    sent_s = time.monotonic()
    command.send_signal(number)
    ends(child, since_s=sent_s, is_orphan=number is not signal.SIGINT)
    _, told = command.communicate(timeout=10)
    assert command.returncode == (130 if number is signal.SIGINT else -number)
    assert ("the next try goes on from there" in told) == (number is signal.SIGINT)
    models = [str(OUTPOST), "list", "--json", "--data", str(tmp_path)]
    assert json.loads(subprocess.check_output(models)) == {"models": []}
    assert not leftovers(tmp_path)


def test_a_child_that_has_nothing_to_say_is_told_of_once(daemon: Daemon) -> None:
    with httpx.stream(
        "POST", f"{daemon.url}/outpost/v1/operations", json=dict(PROBE.body), timeout=30, trust_env=False
    ) as answer:
        child = stopped_child(daemon.pid)
        time.sleep(1.5)
        child.resume()
        told = [json.loads(line)["status"] for line in answer.iter_lines()]
    assert told.count(PROBE.says) == 1
    assert told[-1] == "success"
