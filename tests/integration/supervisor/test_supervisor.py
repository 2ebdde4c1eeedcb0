"""The supervisor with real processes: streams, queue, cancel, shutdown."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from appliance.errors import (
    ClientGone,
    EngineFault,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    ShuttingDown,
)
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Tokenize
from tests.integration.supervisor.asking import Model, ask, deltas_of, pid_of, text_of
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec

pytestmark = pytest.mark.alone


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
    assert supervisor.call("m", Tokenize(id=0, text="one two three"), asker=Asker(owner="a")).tokens == [
        3,
        3,
        5,
    ]


def test_an_unknown_model_is_told_with_the_known_ones(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model()))
    with pytest.raises(ModelNotFound, match="available: m"):
        supervisor.generate("x", ask(), asker=Asker(owner="a"))


def test_a_refusal_and_a_bug_in_prepare_leave_the_runner_alive(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model()))
    with pytest.raises(InvalidRequest, match="you asked for it"):
        supervisor.generate("m", ask(text="refuse me"), asker=Asker(owner="a"))
    with pytest.raises(EngineFault, match="a bug in prepare"):
        supervisor.generate("m", ask(text="a bug"), asker=Asker(owner="a"))
    assert text_of(supervisor, 2) == "0 1 "
    assert supervisor.status()[0].starts == 1


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
            supervisor.generate("m", ask(), asker=Asker(owner="a"))
        assert time.monotonic() - asked_s < 0.05
        assert refusal.value.retry_after_s >= 1.0
        assert all(future.result().startswith("0 1 2 ") for future in running)


def test_an_impatient_request_leaves_the_queue(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(load_s=1.0)), queue=QueuePolicy(patience_s=0.2))
    with pytest.raises(ModelLoading):
        supervisor.generate("m", ask(), asker=Asker(owner="a"))
    eventually(lambda: supervisor.status()[0].waiting == 0)


def test_a_request_whose_client_is_gone_leaves_the_queue(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(load_s=1.0)))
    with pytest.raises(ClientGone):
        supervisor.generate("m", ask(), asker=Asker(owner="a", gone=lambda: True))
    eventually(lambda: supervisor.status()[0].waiting == 0)


def test_closing_a_stream_cancels_it_in_the_runner(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.005)))
    generation = supervisor.generate("m", ask(100_000), asker=Asker(owner="a"))
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
    supervisor.call("m", Tokenize(id=0, text="load"), asker=Asker(owner="a"))
    asked_s = time.monotonic()
    with pytest.raises(ClientGone):
        supervisor.generate(
            "m", ask(100_000), asker=Asker(owner="a", gone=lambda: time.monotonic() - asked_s > 0.1)
        )
    assert supervisor.call("m", Tokenize(id=0, text="still here"), asker=Asker(owner="a")).tokens == [5, 4]
    eventually(lambda: (stats := supervisor.status()[0].stats) is not None and stats.steps == 0)
    assert supervisor.status()[0].starts == 1


def test_draining_lets_running_streams_finish_and_refuses_new_ones(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(30), asker=Asker(owner="a"))
    drain = threading.Thread(target=supervisor.drain, args=(5.0,))
    drain.start()
    eventually(lambda: supervisor.models()[0].state == "draining")
    with pytest.raises(ShuttingDown):
        supervisor.generate("m", ask(), asker=Asker(owner="a"))
    assert len(deltas_of(generation)) == 30
    drain.join()
    assert supervisor.models()[0].state == "stopped"


def test_a_drain_past_its_deadline_ends_what_still_runs(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.01)))
    generation = supervisor.generate("m", ask(100_000), asker=Asker(owner="a"))
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
