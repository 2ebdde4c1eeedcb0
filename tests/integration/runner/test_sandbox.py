"""A real boxed-in runner process tries to get out."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import RunnerStartFailed
from appliance.runner import landlock
from appliance.wire.messages import ApplyTemplate, ChatPrompt, Generate, Sandbox, TextPrompt
from tests.fakes.fake_engine import write_model
from tests.integration.supervisor.conftest import QUICK, MakeSupervisor, eventually, spec

BOXED = replace(QUICK, sandbox="auto")
DENIED = {
    "read_shadow",
    "read_outside",
    "list_root",
    "read_environment_of_daemon",
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

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def outcomes(supervise: MakeSupervisor, tmp_path: Path) -> dict[str, str]:
    """What each attempt inside the box came to."""
    outside = tmp_path / "elsewhere" / "secret"
    outside.parent.mkdir()
    outside.write_text("secret")
    path = tmp_path / "m.gguf"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write_model(path, outside=str(outside), model=str(path), daemon_pid=os.getpid(), port=port)
        supervisor = supervise(spec(path), runners=BOXED)
        text = supervisor.call("m", ApplyTemplate(id=0, prompt=ChatPrompt(messages=[])), owner="a").text
    assert outside.read_text() == "secret"
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_every_way_out_is_closed_and_its_own_work_is_not(outcomes: dict[str, str]) -> None:
    assert {
        name: outcome for name, outcome in outcomes.items() if name in DENIED and outcome == "allowed"
    } == {}
    assert {
        name: outcome for name, outcome in outcomes.items() if name in ALLOWED and outcome != "allowed"
    } == {}
    assert set(outcomes) == DENIED | ALLOWED


def test_the_level_reached_is_reported_and_the_runner_still_generates(
    supervise: MakeSupervisor, model: Callable[..., Path]
) -> None:
    supervisor = supervise(spec(model(), preload=True), runners=replace(QUICK, sandbox="strict"))
    eventually(lambda: supervisor.models()[0].state == "ready")
    sandbox = supervisor.status()[0].sandbox
    assert sandbox is not None
    assert sandbox.level == "full"
    assert sandbox.seccomp
    assert sandbox.no_new_privs
    assert sandbox.non_dumpable
    assert sandbox.rlimits
    generation = supervisor.generate(
        "m", Generate(id=0, prompt=TextPrompt(text="x"), max_tokens=1), owner="a"
    )
    assert generation.next(5.0)
    generation.close()


def test_a_boxed_runner_that_aborts_still_shows_sigabrt(
    supervise: MakeSupervisor, model: Callable[..., Path]
) -> None:
    supervisor = supervise(spec(model(load_crash="abort")), runners=BOXED)
    with pytest.raises(RunnerStartFailed, match="SIGABRT; last words: about to abort"):
        supervisor.generate("m", Generate(id=0, prompt=TextPrompt(text="x")), owner="a")


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
