"""The supervisor with real processes: streams, faults, quarantine, shutdown."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from appliance.errors import (
    ClientGone,
    EngineFault,
    InvalidRequest,
    ModelInvalid,
    ModelLoading,
    ModelNotFound,
    ModelQuarantined,
    OutpostError,
    Overloaded,
    RunnerDied,
    RunnerHung,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.supervisor.inference import Generation
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.supervisor import Supervisor
from appliance.wire.messages import Delta, Generate, TextPrompt, Tokenize
from tests.integration.supervisor.conftest import QUICK, MakeSupervisor, eventually, spec

Model = Callable[..., Path]


def ask(tokens: int = 16, text: str = "hello") -> Generate:
    return Generate(id=0, prompt=TextPrompt(text=text), max_tokens=tokens)


def deltas_of(generation: Generation) -> list[Delta]:
    found: list[Delta] = []
    while not found or found[-1].usage is None:
        found += [item for item in generation.next(5.0) or [] if isinstance(item, Delta)]
    generation.close()
    return found


def text_of(supervisor: Supervisor, tokens: int = 16, *, owner: str = "a") -> str:
    return "".join(delta.text for delta in deltas_of(supervisor.generate("m", ask(tokens), owner=owner)))


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.status()[0].runner_pid
    assert pid is not None
    return pid


def test_the_first_request_starts_a_runner_and_the_next_finds_it(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model()))
    assert supervisor.models()[0].state == "stopped"
    assert text_of(supervisor, 4) == "0 1 2 3 "
    pid = pid_of(supervisor)
    assert text_of(supervisor, 3) == "0 1 2 "
    assert pid_of(supervisor) == pid
    card = supervisor.models()[0]
    assert card.state == "ready"
    assert card.facts is not None
    assert card.facts.description == "a fake"


def test_fifty_streams_at_once_lose_double_and_reorder_nothing(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.001)))
    expected = "".join(f"{number} " for number in range(200))
    with ThreadPoolExecutor(50) as pool:
        texts = list(pool.map(lambda owner: text_of(supervisor, 200, owner=str(owner)), range(50)))
    assert texts == [expected] * 50
    assert supervisor.status()[0].starts == 1


def test_a_result_comes_back_to_its_caller(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model()))
    assert supervisor.call("m", Tokenize(id=0, text="one two three"), owner="a").tokens == [3, 3, 5]


def test_an_unknown_model_is_told_with_the_known_ones(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model()))
    with pytest.raises(ModelNotFound, match="available: m"):
        supervisor.generate("x", ask(), owner="a")


def test_a_refusal_and_a_bug_in_prepare_leave_the_runner_alive(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model()))
    with pytest.raises(InvalidRequest, match="you asked for it"):
        supervisor.generate("m", ask(text="refuse me"), owner="a")
    with pytest.raises(EngineFault, match="a bug in prepare"):
        supervisor.generate("m", ask(text="a bug"), owner="a")
    assert text_of(supervisor, 2) == "0 1 "
    assert supervisor.status()[0].starts == 1


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
    generation = supervisor.generate("m", ask(), owner="a")
    with pytest.raises(RunnerDied, match=cause):
        deltas_of(generation)
    generation.close()
    path.write_bytes(model().read_bytes())
    assert text_of(supervisor, 2) == "0 1 "


def test_kill_9_from_outside_is_a_typed_error_within_a_second(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(500), owner="a")
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
    generation = supervisor.generate("m", ask(), owner="a")
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
            deltas_of(supervisor.generate("m", ask(), owner="a"))
    with pytest.raises(ModelQuarantined, match="3 crashes in a row"):
        supervisor.generate("m", ask(), owner="a")
    assert supervisor.status()[0].is_quarantined
    assert "SIGSEGV" in (supervisor.models()[0].reason or "")
    path.write_bytes(model(step_s=0.0).read_bytes())
    assert text_of(supervisor, 2) == "0 1 "
    assert not supervisor.status()[0].is_quarantined


def test_a_quarantine_that_has_passed_is_none(supervise: MakeSupervisor, model: Model) -> None:
    runners = replace(QUICK, max_crashes=1, quarantine_s=0.5)
    supervisor = supervise(spec(model(then="exit")), runners=runners)
    with pytest.raises(RunnerDied):
        deltas_of(supervisor.generate("m", ask(), owner="a"))
    eventually(lambda: supervisor.status()[0].is_quarantined, within_s=0.4)
    eventually(lambda: not supervisor.status()[0].is_quarantined, within_s=1.0)


def test_a_runner_at_work_tells_its_speed_its_age_and_its_last_word(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    assert supervisor.status()[0].tokens_per_s is None
    generation = supervisor.generate("m", ask(100_000), owner="a")
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
        outcomes = list(pool.map(lambda _: _error_of(supervisor), range(5)))
    assert all(isinstance(error, RunnerStartFailed) and "SIGABRT" in error.message for error in outcomes)
    assert supervisor.status()[0].starts == 1


def test_a_model_that_does_not_load_is_told_to_all_at_once_and_not_tried_again_before_the_backoff(
    supervise: MakeSupervisor, model: Model
) -> None:
    runners = replace(QUICK, backoff_s=30.0)
    supervisor = supervise(spec(model(load_error="no tokenizer")), runners=runners)
    for _ in range(3):
        with pytest.raises(ModelInvalid, match="no tokenizer"):
            supervisor.generate("m", ask(), owner="a")
    assert supervisor.status()[0].starts == 1


@pytest.mark.parametrize("content", [b"", b"GGUF", b"MZ" + bytes(100), b"GGUF\x09\0\0\0" + bytes(16)])
def test_a_file_that_is_no_gguf_is_refused_before_a_runner_is_spawned(
    supervise: MakeSupervisor, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    supervisor = supervise(spec(path))
    with pytest.raises(ModelInvalid):
        supervisor.generate("m", ask(), owner="a")
    assert supervisor.status()[0].runner_pid is None


def test_two_hundred_first_requests_start_one_runner(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(
        spec(model(load_s=0.2)), queue=QueuePolicy(max_running=8, max_waiting=200, patience_s=20.0)
    )
    with ThreadPoolExecutor(100) as pool:
        texts = list(pool.map(lambda _: text_of(supervisor, 2), range(200)))
    assert texts == ["0 1 "] * 200
    assert supervisor.status()[0].starts == 1


def test_one_more_than_the_queue_holds_is_refused_within_50_ms(
    supervise: MakeSupervisor, model: Model
) -> None:
    queue = QueuePolicy(max_running=1, max_waiting=2, patience_s=10.0)
    supervisor = supervise(spec(model(step_s=0.02)), queue=queue)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(text_of, supervisor, 30) for _ in range(3)]
        eventually(lambda: (status := supervisor.status()[0]).running == 1 and status.waiting == 2)
        asked_s = time.monotonic()
        with pytest.raises(Overloaded, match="2 of 2") as refusal:
            supervisor.generate("m", ask(), owner="b")
        assert time.monotonic() - asked_s < 0.05
        assert refusal.value.retry_after_s >= 1.0
        assert all(future.result().startswith("0 1 2 ") for future in running)


def test_an_impatient_request_leaves_the_queue(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(load_s=1.0)), queue=QueuePolicy(patience_s=0.2))
    with pytest.raises(ModelLoading):
        supervisor.generate("m", ask(), owner="a")
    eventually(lambda: supervisor.status()[0].waiting == 0)


def test_a_request_whose_client_is_gone_leaves_the_queue(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(load_s=1.0)))
    with pytest.raises(ClientGone):
        supervisor.generate("m", ask(), owner="a", gone=lambda: True)
    eventually(lambda: supervisor.status()[0].waiting == 0)


def test_closing_a_stream_cancels_it_in_the_runner(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.005)))
    generation = supervisor.generate("m", ask(100_000), owner="a")
    generation.next(1.0)
    generation.close()
    generation.close()
    eventually(lambda: (stats := supervisor.status()[0].stats) is not None and stats.running == 0)
    eventually(lambda: supervisor.status()[0].running == 0)


def test_a_cancel_that_overtakes_its_own_request_still_ends_it(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(
        spec(model(prepare_s=0.5, step_s=0.005)), queue=QueuePolicy(patience_s=10.0, max_running=1)
    )
    supervisor.call("m", Tokenize(id=0, text="load"), owner="a")
    asked_s = time.monotonic()
    with pytest.raises(ClientGone):
        supervisor.generate("m", ask(100_000), owner="a", gone=lambda: time.monotonic() - asked_s > 0.1)
    assert supervisor.call("m", Tokenize(id=0, text="still here"), owner="a").tokens == [5, 4]
    eventually(lambda: (stats := supervisor.status()[0].stats) is not None and stats.steps == 0)
    assert supervisor.status()[0].starts == 1


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
    generation = supervisor.generate("m", ask(400), owner="a")
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
        deltas_of(supervisor.generate("m", ask(400), owner="a"))


def test_draining_lets_running_streams_finish_and_refuses_new_ones(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(30), owner="a")
    drain = threading.Thread(target=supervisor.drain, args=(5.0,))
    drain.start()
    eventually(lambda: supervisor.models()[0].state == "draining")
    with pytest.raises(ShuttingDown):
        supervisor.generate("m", ask(), owner="a")
    assert len(deltas_of(generation)) == 30
    drain.join()
    assert supervisor.models()[0].state == "stopped"


def test_a_drain_past_its_deadline_ends_what_still_runs(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(100_000), owner="a")
    assert supervisor.drain(0.2)
    with pytest.raises(ShuttingDown):
        deltas_of(generation)


def test_a_runner_that_ignores_its_end_is_killed(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(ignore_eof=True), preload=True))
    eventually(lambda: supervisor.models()[0].state == "ready")
    pid = pid_of(supervisor)
    supervisor.drain(0.1)
    assert not psutil.pid_exists(pid)


def test_a_preloaded_model_starts_with_the_daemon_and_again_after_a_crash(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(), preload=True))
    eventually(lambda: supervisor.models()[0].state == "ready")
    pid = pid_of(supervisor)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: supervisor.models()[0].state == "ready" and pid_of(supervisor) != pid)


def test_the_runner_shows_its_model_in_ps(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(), preload=True))
    eventually(lambda: supervisor.models()[0].state == "ready")
    process = psutil.Process(pid_of(supervisor))
    assert process.name() == "outpost-runner"
    assert process.cmdline()[0] == "outpost-runner m"


def _error_of(supervisor: Supervisor) -> OutpostError:
    with pytest.raises(OutpostError) as caught:
        supervisor.generate("m", ask(), owner="a")
    return caught.value
