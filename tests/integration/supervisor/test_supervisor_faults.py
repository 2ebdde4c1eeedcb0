"""Runners that die, hang, do not load or break the protocol: a typed error, and the next request works."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from appliance.errors import (
    EngineFault,
    ModelInvalid,
    ModelQuarantined,
    RunnerDied,
    RunnerHung,
    RunnerStartFailed,
)
from appliance.supervisor.turn import Asker
from tests.integration.supervisor.asking import Model, ask, deltas_of, error_of, pid_of, text_of
from tests.integration.supervisor.conftest import QUICK, MakeSupervisor, eventually, spec

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("kill", "SIGKILL"),
        ("segv", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit", "exit code 3"),
        ("raise", "ZeroDivisionError: a bug in step"),
    ],
)
def test_a_runner_that_dies_in_mid_stream_fails_its_requests_and_the_next_one_works(
    supervise: MakeSupervisor, model: Model, how: str, cause: str
) -> None:
    path = model(then=how, after_tokens=3, step_s=0.005)
    supervisor = supervise(spec(path))
    generation = supervisor.generate("m", ask(), asker=Asker(owner="a"))
    with pytest.raises(RunnerDied, match=cause):
        deltas_of(generation)
    generation.close()
    path.write_bytes(model().read_bytes())
    assert text_of(supervisor, 2) == "0 1 "


def test_kill_9_from_outside_is_a_typed_error_within_a_second(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(500), asker=Asker(owner="a"))
    generation.next(1.0)
    pid = pid_of(supervisor)
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    with pytest.raises(RunnerDied, match="SIGKILL"):
        deltas_of(generation)
    assert time.monotonic() - killed_s < 1.0
    assert text_of(supervisor, 2) == "0 1 "
    assert pid_of(supervisor) != pid


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_a_hung_runner_is_killed_when_its_heartbeat_is_overdue(
    supervise: MakeSupervisor, model: Model, how: str
) -> None:
    supervisor = supervise(spec(model(then=how, after_tokens=2, step_s=0.01)))
    generation = supervisor.generate("m", ask(), asker=Asker(owner="a"))
    pid = pid_of(supervisor)
    hung_s = time.monotonic()
    assert not supervisor.status()[0].is_hung
    eventually(lambda: supervisor.status()[0].is_hung, within_s=QUICK.heartbeat_timeout_s)
    with pytest.raises(RunnerHung):
        deltas_of(generation)
    assert time.monotonic() - hung_s < QUICK.heartbeat_timeout_s + 1.0
    eventually(lambda: not psutil.pid_exists(pid))


def test_three_crashes_in_a_row_quarantine_the_model_and_a_new_file_ends_it(
    supervise: MakeSupervisor, model: Model
) -> None:
    path = model(then="segv")
    supervisor = supervise(spec(path))
    for _ in range(3):
        with pytest.raises(RunnerDied):
            deltas_of(supervisor.generate("m", ask(), asker=Asker(owner="a")))
    with pytest.raises(ModelQuarantined, match="3 crashes in a row"):
        supervisor.generate("m", ask(), asker=Asker(owner="a"))
    assert supervisor.status()[0].is_quarantined
    assert "SIGSEGV" in (supervisor.models()[0].reason or "")
    path.write_bytes(model(step_s=0.0).read_bytes())
    assert text_of(supervisor, 2) == "0 1 "
    assert not supervisor.status()[0].is_quarantined


def test_a_quarantine_that_has_passed_is_none(supervise: MakeSupervisor, model: Model) -> None:
    runners = replace(QUICK, max_crashes=1, quarantine_s=0.5)
    supervisor = supervise(spec(model(then="exit")), runners=runners)
    with pytest.raises(RunnerDied):
        deltas_of(supervisor.generate("m", ask(), asker=Asker(owner="a")))
    eventually(lambda: supervisor.status()[0].is_quarantined, within_s=0.4)
    eventually(lambda: not supervisor.status()[0].is_quarantined, within_s=1.0)


def test_a_runner_at_work_tells_its_speed_its_age_and_its_last_word(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    assert supervisor.status()[0].tokens_per_s is None
    generation = supervisor.generate("m", ask(100_000), asker=Asker(owner="a"))
    eventually(lambda: 20 < (supervisor.status()[0].tokens_per_s or 0) < 110)
    status = supervisor.status()[0]
    assert status.uptime_s is not None
    assert 0 < status.uptime_s < 10
    assert status.silent_s is not None
    assert status.silent_s < 0.5
    generation.close()
    eventually(lambda: supervisor.status()[0].running == 0)


def test_a_success_in_between_breaks_the_row_of_crashes(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.001)))
    for _ in range(4):
        assert text_of(supervisor, 2) == "0 1 "
        os.kill(pid_of(supervisor), signal.SIGKILL)
        eventually(lambda: supervisor.models()[0].state == "failed")
    assert not supervisor.status()[0].is_quarantined


def test_a_crash_while_loading_fails_all_who_wait(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(load_s=0.3, load_crash="abort")))
    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(lambda _: error_of(supervisor), range(5)))
    assert all(isinstance(error, RunnerStartFailed) and "SIGABRT" in error.message for error in outcomes)
    assert supervisor.status()[0].starts == 1


def test_a_model_that_does_not_load_is_told_to_all_at_once_and_not_tried_again_before_the_backoff(
    supervise: MakeSupervisor, model: Model
) -> None:
    runners = replace(QUICK, backoff_s=30.0)
    supervisor = supervise(spec(model(load_error="no tokenizer")), runners=runners)
    for _ in range(3):
        with pytest.raises(ModelInvalid, match="no tokenizer"):
            supervisor.generate("m", ask(), asker=Asker(owner="a"))
    assert supervisor.status()[0].starts == 1


@pytest.mark.parametrize("content", [b"", b"GGUF", b"MZ" + bytes(100), b"GGUF\x09\0\0\0" + bytes(16)])
def test_a_file_that_is_no_gguf_is_refused_before_a_runner_is_spawned(
    supervise: MakeSupervisor, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    supervisor = supervise(spec(path))
    with pytest.raises(ModelInvalid):
        supervisor.generate("m", ask(), asker=Asker(owner="a"))
    assert supervisor.status()[0].runner_pid is None


@pytest.mark.parametrize(
    "frames",
    [
        "garbage",
        "not_utf8",
        "oversize",
        "unknown",
        "out_of_turn",
        "wrong_choice",
        "flood",
        "heartbeats",
        "trickle",
    ],
)
def test_a_runner_that_breaks_the_protocol_is_killed_and_the_daemon_lives(
    supervise: MakeSupervisor, model: Model, frames: str
) -> None:
    path = model(frames=frames, step_s=0.05)
    supervisor = supervise(spec(path))
    generation = supervisor.generate("m", ask(400), asker=Asker(owner="a"))
    pid = pid_of(supervisor)
    with pytest.raises((RunnerDied, RunnerHung)):
        deltas_of(generation)
    eventually(lambda: not psutil.pid_exists(pid))
    path.write_bytes(model().read_bytes())
    assert text_of(supervisor, 2) == "0 1 "


def test_an_error_with_misfit_fields_from_a_runner_becomes_an_engine_fault(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(frames="wrong_error", step_s=0.05)))
    with pytest.raises(EngineFault, match="unexpected fields"):
        deltas_of(supervisor.generate("m", ask(400), asker=Asker(owner="a")))
