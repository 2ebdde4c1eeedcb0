"""A runner's ties to the daemon: EOF, the daemon's death, its name, its bounds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from appliance.wire.channel import Channel, daemon_end
from appliance.wire.messages import (
    PROTOCOL,
    Accepted,
    Cancel,
    EngineSettings,
    Generate,
    Heartbeat,
    Load,
    Loading,
    Ready,
    RunnerMessage,
    Step,
    TextPrompt,
)
from tests.integration.supervisor.conftest import FAKE_RUNNER, PLACEMENT, eventually

DAEMON = """
import sys, time, threading
from tests.integration.supervisor.conftest import FAKE_RUNNER, QUICK, spec
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.supervisor import Supervisor
from pathlib import Path
spawner = Spawner()
supervisor = Supervisor([spec(Path(sys.argv[1]), preload=True)], queue=QueuePolicy(), runners=QUICK,
                        spawner=spawner, command=FAKE_RUNNER)
supervisor.start()
def tell():
    while (now := supervisor.status()[0]).state not in sys.argv[2:] or now.runner_pid is None:
        time.sleep(0.01)
    print("pid", supervisor.status()[0].runner_pid, flush=True)
threading.Thread(target=tell, daemon=True).start()
spawner.run()
"""


@pytest.mark.parametrize("knobs", [{}, {"load_s": 30.0}, {"then": "stop"}])
def test_kill_9_of_the_daemon_leaves_no_orphan(model: Callable[..., Path], knobs: dict[str, object]) -> None:
    states = ["starting"] if "load_s" in knobs else ["ready"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(model(**knobs)), *states],
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        for line in daemon.stdout:
            if line.startswith("pid"):
                break
        pid = next(iter(psutil.Process(daemon.pid).children())).pid
        if "then" in knobs:
            os.kill(pid, signal.SIGSTOP)
        daemon.kill()
    eventually(lambda: _is_gone(pid), within_s=1.0)


class Child:
    """A runner process on a bare channel."""

    def __init__(self, path: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [*FAKE_RUNNER, "--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
            self.process = subprocess.Popen([*command, "--sandbox", "off"], pass_fds=[theirs.fileno()])
        self.channel: Channel[RunnerMessage] = daemon_end(ours)
        self.channel.set_receive_timeout(5.0)
        self.channel.send(
            Load(
                protocol=PROTOCOL,
                model="m",
                path=str(path),
                placement=PLACEMENT,
                settings=EngineSettings(heartbeat_s=0.1),
            )
        )

    def until(self, kind: type[RunnerMessage]) -> RunnerMessage:
        while not isinstance(message := self.channel.receive(), kind):
            assert message is not None
        return message


@pytest.fixture
def start() -> Iterator[Callable[[Path], Child]]:
    children: list[Child] = []

    def make(path: Path) -> Child:
        children.append(Child(path))
        return children[-1]

    yield make
    for child in children:
        child.process.kill()
        child.process.wait()
        child.channel.close()


def test_eof_ends_an_idle_runner_cleanly(start: Callable[[Path], Child], model: Callable[..., Path]) -> None:
    child = start(model())
    child.until(Ready)
    child.channel.close()
    assert child.process.wait(1.0) == 0


def test_eof_ends_a_runner_in_the_middle_of_a_long_step(
    start: Callable[[Path], Child], model: Callable[..., Path]
) -> None:
    child = start(model(step_s=30.0))
    child.until(Ready)
    child.channel.send(Generate(id=1, prompt=TextPrompt(text="x")))
    child.until(Accepted)
    child.channel.close()
    assert child.process.wait(1.5) == 0


def test_eof_ends_a_runner_that_loads(start: Callable[[Path], Child], model: Callable[..., Path]) -> None:
    child = start(model(load_s=60.0))
    time.sleep(0.5)
    child.channel.close()
    assert child.process.wait(2.0) == 0


def test_an_idle_runner_beats_and_otherwise_sleeps(
    start: Callable[[Path], Child], model: Callable[..., Path]
) -> None:
    child = start(model())
    child.until(Ready)
    used = psutil.Process(child.process.pid).cpu_times()
    beats = [child.until(Heartbeat) for _ in range(10)]
    spent = psutil.Process(child.process.pid).cpu_times()
    assert len(beats) == 10
    assert (spent.user + spent.system) - (used.user + used.system) <= 0.05


def test_a_busy_runner_beats_too(start: Callable[[Path], Child], model: Callable[..., Path]) -> None:
    child = start(model(step_s=0.01))
    child.until(Ready)
    child.channel.send(Generate(id=1, prompt=TextPrompt(text="x"), max_tokens=1_000_000))
    child.until(Step)
    for _ in range(3):
        child.until(Heartbeat)


def test_a_daemon_that_does_not_read_does_not_grow_the_runner(
    start: Callable[[Path], Child], model: Callable[..., Path]
) -> None:
    child = start(model())
    child.until(Ready)
    child.channel.send(Generate(id=1, prompt=TextPrompt(text="x"), max_tokens=100_000_000))
    process = psutil.Process(child.process.pid)
    time.sleep(0.5)
    then_bytes = process.memory_info().rss
    time.sleep(0.5)
    assert process.memory_info().rss - then_bytes < 1_000_000
    child.channel.send(Cancel(id=1))
    child.channel.close()
    assert child.process.wait(1.5) == 0


def test_progress_of_a_load_is_told(start: Callable[[Path], Child], model: Callable[..., Path]) -> None:
    child = start(model(load_s=0.6))
    assert isinstance(child.until(Loading), Loading)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
