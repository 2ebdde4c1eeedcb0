"""A real boxed-in runner process tries to get out."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import RunnerStartFailed
from appliance.runner import landlock
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.turn import Asker
from appliance.wire.messages import ApplyTemplate, ChatPrompt, Generate, Sandbox, TextPrompt
from tests.fakes.fake_engine import write_model
from tests.fakes.fake_probes import set_up_io_uring
from tests.integration.supervisor.conftest import FAKE_RUNNER, QUICK, MakeSupervisor, eventually, spec

BOXED = replace(QUICK, sandbox="auto")
SHUT_BY_LANDLOCK = {"read_etc", "read_outside", "list_root", "read_environment_of_other"}
SHUT_BY_SECCOMP = {
    "write_file",
    "overwrite_model",
    "unlink",
    "rename",
    "connect_tcp",
    "unix_socket",
    "exec",
    "exec_in_place",
    "fork",
    "clone3",
    "ptrace",
    "kill_other",
    "tgkill_other",
    "pidfd_open",
    "io_uring",
    "become_dumpable",
    "outlive_the_daemon",
}
ALLOWED = {
    "may_read_model",
    "may_start_thread",
    "may_read_memory_reading",
    "may_read_cores",
    "may_import",
}
SHUT_HERE = SHUT_BY_SECCOMP | (SHUT_BY_LANDLOCK if landlock.abi() else set())
LEVEL_HERE = "full" if landlock.abi() else "partial"
WITHOUT_LANDLOCK = (sys.executable, str(Path(__file__).parents[2] / "fakes" / "runner_without_landlock.py"))
OTHER = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0);"
    "print('lets anybody trace it', flush=True); sys.stdin.read()"
)

Probe = Callable[..., dict[str, str]]


@pytest.fixture
def other() -> Iterator[int]:
    """Another process of ours, to be spied upon."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


@pytest.fixture
def probe(other: int, supervise: MakeSupervisor, tmp_path: Path) -> Probe:
    """Make all attempts in a runner under a policy: what each came to.

    `other` comes first, and so ends last: a traced process can not be reaped before its tracer has ended.
    """

    def attempts(runners: RunnerPolicy, command: Sequence[str] = FAKE_RUNNER) -> dict[str, str]:
        outside = tmp_path / "elsewhere" / "secret"
        outside.parent.mkdir()
        for name in ("secret", "to_unlink", "to_rename"):
            (outside.parent / name).write_text("secret")
        path = tmp_path / "m.gguf"
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            write_model(path, outside=str(outside), model=str(path), other_pid=other, port=port)
            supervisor = supervise(spec(path), runners=runners, command=command)
            request = ApplyTemplate(id=0, prompt=ChatPrompt(messages=[]))
            found = json.loads(supervisor.call("m", request, asker=Asker(owner="a")).text)
        assert isinstance(found, dict)
        return found

    return attempts


def shut(outcomes: dict[str, str]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome != "allowed"}


def test_outside_of_the_box_every_attempt_succeeds(probe: Probe) -> None:
    """Without this the next tests would prove nothing: a target that is not there looks like a fence."""
    outcomes = probe(QUICK)
    assert set(outcomes) == SHUT_BY_LANDLOCK | SHUT_BY_SECCOMP | ALLOWED
    assert shut(outcomes) == ({"io_uring"} if _has_no_io_uring() else set())


def test_inside_every_way_out_is_shut_and_its_own_work_is_not(probe: Probe, tmp_path: Path) -> None:
    assert shut(probe(BOXED)) == SHUT_HERE
    kept = {file.name: file.read_text() for file in (tmp_path / "elsewhere").iterdir()}
    assert kept == dict.fromkeys(("secret", "to_unlink", "to_rename"), "secret")


def test_without_landlock_the_other_fences_stand(probe: Probe) -> None:
    assert shut(probe(BOXED, WITHOUT_LANDLOCK)) == SHUT_BY_SECCOMP


@pytest.mark.parametrize(
    ("command", "level", "missing"),
    [
        (FAKE_RUNNER, LEVEL_HERE, [] if landlock.abi() else ["landlock"]),
        (WITHOUT_LANDLOCK, "partial", ["landlock"]),
    ],
    ids=["this kernel", "no Landlock"],
)
def test_the_level_reached_is_reported_and_the_runner_still_generates(
    supervise: MakeSupervisor,
    model: Callable[..., Path],
    command: Sequence[str],
    level: str,
    missing: list[str],
) -> None:
    supervisor = supervise(spec(model(), preload=True), runners=BOXED, command=command)
    eventually(lambda: supervisor.models()[0].state == "ready")
    sandbox = supervisor.status()[0].sandbox
    assert sandbox is not None
    assert sandbox.level == level
    assert [part for part in sandbox.missing if part != "landlock_net"] == missing
    assert sandbox.landlock_abi == (0 if missing else landlock.abi())
    assert sandbox.seccomp
    assert sandbox.no_new_privs
    assert sandbox.non_dumpable
    assert sandbox.rlimits
    generation = supervisor.generate(
        "m", Generate(id=0, prompt=TextPrompt(text="x"), max_tokens=1), asker=Asker(owner="a")
    )
    assert generation.next(5.0)
    generation.close()


def test_strict_takes_all_of_it_or_refuses_to_run(
    supervise: MakeSupervisor, model: Callable[..., Path]
) -> None:
    strict, ask = replace(QUICK, sandbox="strict"), Generate(id=0, prompt=TextPrompt(text="x"))
    bare = supervise(spec(model()), runners=strict, command=WITHOUT_LANDLOCK)
    with pytest.raises(RunnerStartFailed, match="sandbox is strict, and this is missing: landlock"):
        bare.generate("m", ask, asker=Asker(owner="a"))
    here = supervise(spec(model(), preload=True), runners=strict)
    settled = "ready" if landlock.abi() else "failed"
    eventually(lambda: here.models()[0].state == settled)


def test_a_boxed_runner_that_aborts_still_shows_sigabrt(
    supervise: MakeSupervisor, model: Callable[..., Path]
) -> None:
    supervisor = supervise(spec(model(load_crash="abort")), runners=BOXED)
    with pytest.raises(RunnerStartFailed, match="SIGABRT; last words: about to abort"):
        supervisor.generate("m", Generate(id=0, prompt=TextPrompt(text="x")), asker=Asker(owner="a"))


def test_off_is_reported_as_none(supervise: MakeSupervisor, model: Callable[..., Path]) -> None:
    supervisor = supervise(spec(model(), preload=True), runners=QUICK)
    eventually(lambda: supervisor.models()[0].state == "ready")
    assert supervisor.status()[0].sandbox == Sandbox(
        level="none",
        no_new_privs=False,
        non_dumpable=False,
        rlimits=False,
        landlock_abi=0,
        seccomp=False,
        missing=["rlimits", "no_new_privs", "non_dumpable", "landlock", "seccomp", "one_thread"],
    )


def _has_no_io_uring() -> bool:
    """Many containers and some administrators forbid it to everybody."""
    try:
        set_up_io_uring()
    except OSError:
        return True
    return False
