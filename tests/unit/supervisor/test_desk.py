"""Every decision about one model, without a process, thread or clock."""

from __future__ import annotations

import pytest

from appliance.errors import (
    ModelInvalid,
    ModelQuarantined,
    Overloaded,
    RunnerStartFailed,
    ShuttingDown,
)
from appliance.supervisor.history import FileStamp
from appliance.supervisor.states import RunnerState
from tests.unit.supervisor.desk_scene import CRASH, FACTS, PRELOADED, Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_many_first_requests_start_one_runner_and_are_granted_when_it_is_ready(scene: Scene) -> None:
    tickets = [scene.ask(), scene.ask(), scene.ask()]
    assert scene.effects.started == 1
    scene.load()
    assert [ticket.answers for ticket in tickets] == [["r1"], ["r1"], []]


def test_a_released_lease_goes_to_the_next_owner_in_turn() -> None:
    scene = Scene(waiting=9)
    running = [scene.ask(), scene.ask()]
    scene.load()
    waiting = [scene.ask(owner="a"), scene.ask(owner="a"), scene.ask(owner="b")]
    scene.desk.release(running[0], 1.0, succeeded=True)
    scene.desk.release(running[1], 1.0, succeeded=True)
    assert [ticket.answers for ticket in waiting] == [["r1"], [], ["r1"]]


def test_one_more_than_runs_and_waits_is_refused_at_once(scene: Scene) -> None:
    scene.ask(), scene.ask()
    scene.load()
    scene.ask()
    refused = scene.ask()
    assert isinstance(refused.error, Overloaded)
    assert refused.error.fields["limit"] == 1


def test_while_it_loads_as_many_may_wait_as_could_run_and_wait(scene: Scene) -> None:
    tickets = [scene.ask() for _ in range(4)]
    assert [len(ticket.answers) for ticket in tickets] == [0, 0, 0, 1]
    assert isinstance(tickets[3].error, Overloaded)


def test_without_waiting_room_the_first_request_still_starts_the_model() -> None:
    scene = Scene(running=1, waiting=0)
    ticket = scene.ask()
    scene.load()
    assert ticket.answers == ["r1"]


def test_one_who_gives_up_leaves_the_queue(scene: Scene) -> None:
    ticket = scene.ask()
    scene.desk.release(ticket, 1.0, succeeded=False)
    scene.load()
    assert ticket.answers == []
    assert not scene.desk.leases


def test_one_who_gives_up_just_when_granted_frees_the_lease(scene: Scene) -> None:
    ticket = scene.ask()
    scene.load()
    scene.desk.release(ticket, 1.0, succeeded=False)
    assert not scene.desk.leases


def test_a_crash_leaves_those_who_wait_and_starts_again_after_the_backoff(scene: Scene) -> None:
    scene.ask(), scene.ask()
    scene.load()
    waiting = scene.ask()
    scene.desk.gone("r1", CRASH, 10.0)
    assert waiting.answers == []
    assert scene.desk.wake_at_s == 11.0
    scene.desk.tick(10.9)
    assert scene.effects.started == 1
    scene.desk.tick(11.0)
    assert scene.effects.started == 2
    scene.load("r2", 12.0)
    assert waiting.answers == ["r2"]


def test_nobody_waiting_means_no_restart(scene: Scene) -> None:
    scene.ask()
    scene.load()
    scene.desk.gone("r1", CRASH, 10.0)
    assert scene.desk.wake_at_s is None
    assert scene.desk.state is RunnerState.FAILED


def test_a_late_release_for_a_dead_runner_changes_nothing(scene: Scene) -> None:
    ticket = scene.ask()
    scene.load()
    scene.desk.gone("r1", CRASH, 10.0)
    scene.desk.release(ticket, 11.0, succeeded=True)
    assert scene.desk.history.crashes == 1


def test_a_fault_while_loading_is_told_to_all_who_wait(scene: Scene) -> None:
    tickets = [scene.ask(), scene.ask()]
    scene.desk.started("r1")
    fault = RunnerStartFailed(model="m", reason="SIGABRT")
    scene.desk.gone("r1", fault, 1.0)
    assert [ticket.error for ticket in tickets] == [fault, fault]


def test_a_file_that_fails_preflight_needs_no_runner(scene: Scene) -> None:
    ticket = scene.ask()
    fault = ModelInvalid(model="m", reason="no such file")
    scene.desk.gone(None, fault, 1.0)
    assert ticket.error is fault
    assert scene.ask(1.5).error is fault
    assert scene.effects.started == 1
    scene.ask(2.0)
    assert scene.effects.started == 2
    assert scene.desk.reason == "no such file"


def test_three_crashes_quarantine_with_a_reason_until_the_file_changes(scene: Scene) -> None:
    for now_s in (0.0, 10.0, 20.0):
        scene.ask(now_s)
        scene.crash(now_s)
    assert isinstance(scene.ask(21.0).error, ModelQuarantined)
    assert scene.desk.quarantined_until_s is not None
    assert scene.desk.reason == "quarantined after 3 crashes in a row: SIGSEGV"
    scene.effects.file = FileStamp(mtime_ns=2, size_bytes=1, inode=1)
    scene.ask(22.0)
    assert scene.effects.started == 4


def test_the_crash_that_quarantines_refuses_those_who_wait() -> None:
    scene = Scene(running=1)
    for now_s in (0.0, 10.0):
        scene.ask(now_s)
        scene.crash(now_s)
    scene.ask(20.0)
    scene.load("r1", 20.0)
    waiting = scene.ask(20.0)
    scene.desk.gone("r1", CRASH, 20.0)
    assert isinstance(waiting.error, ModelQuarantined)


def test_a_success_breaks_the_row_of_crashes(scene: Scene) -> None:
    for now_s in (0.0, 10.0):
        scene.ask(now_s)
        scene.crash(now_s)
    ticket = scene.ask(20.0)
    scene.load("r1", 20.0)
    scene.desk.release(ticket, 21.0, succeeded=True)
    scene.desk.gone("r1", CRASH, 22.0)
    assert scene.desk.history.crashes == 1


def test_a_preloaded_model_starts_by_itself_and_again_after_a_crash() -> None:
    scene = Scene(PRELOADED)
    scene.desk.begin(0.0)
    assert scene.effects.started == 1
    scene.crash(5.0)
    scene.desk.tick(6.0)
    assert scene.effects.started == 2


def test_a_preloaded_model_is_tried_again_after_its_quarantine() -> None:
    scene = Scene(PRELOADED)
    scene.desk.begin(0.0)
    scene.crash(5.0)
    scene.desk.tick(10.0)
    scene.crash(10.0)
    scene.desk.tick(20.0)
    scene.crash(20.0)
    assert scene.desk.wake_at_s == 120.0
    scene.desk.tick(120.0)
    assert scene.effects.started == 4


def test_draining_waits_for_the_leases_and_then_stops(scene: Scene) -> None:
    ticket = scene.ask()
    scene.load()
    scene.desk.drain(1.0)
    scene.desk.drain(1.0)
    assert scene.desk.state == "draining"
    assert isinstance(scene.ask(1.0).error, ShuttingDown)
    assert scene.effects.stopped == []
    scene.desk.release(ticket, 2.0, succeeded=True)
    assert [runner for runner, _ in scene.effects.stopped] == ["r1"]
    was_over = scene.desk.is_over
    scene.desk.gone("r1", None, 3.0)
    assert (was_over, scene.desk.is_over) == (False, True)
    assert scene.desk.state == "stopped"


def test_the_end_of_the_drain_stops_what_still_runs(scene: Scene) -> None:
    scene.ask()
    scene.load()
    scene.desk.drain(1.0)
    scene.desk.halt()
    ((runner, error),) = scene.effects.stopped
    assert runner == "r1"
    assert isinstance(error, ShuttingDown)


def test_draining_refuses_those_who_wait_and_stops_a_load(scene: Scene) -> None:
    ticket = scene.ask()
    scene.desk.started("r1")
    scene.desk.drain(1.0)
    assert isinstance(ticket.error, ShuttingDown)
    assert scene.desk.state is RunnerState.STOPPING
    scene.desk.ready("r1", FACTS, 1.0)
    assert scene.desk.state is RunnerState.STOPPING


def test_a_runner_that_appears_while_stopping_is_stopped(scene: Scene) -> None:
    scene.ask()
    scene.desk.drain(1.0)
    scene.desk.started("r1")
    assert [runner for runner, _ in scene.effects.stopped] == ["r1"]
    scene.desk.gone("r1", None, 2.0)
    assert scene.desk.is_over


def test_an_idle_desk_is_over_at_once(scene: Scene) -> None:
    scene.desk.drain(0.0)
    assert scene.desk.is_over


def test_news_of_another_runner_is_ignored(scene: Scene) -> None:
    scene.ask()
    scene.load()
    scene.desk.gone("r0", CRASH, 1.0)
    scene.desk.ready("r0", FACTS, 1.0)
    assert scene.desk.state is RunnerState.READY


def test_a_runner_that_ends_unasked_without_a_fault_counts_as_one(scene: Scene) -> None:
    scene.ask()
    scene.load()
    scene.desk.gone("r1", None, 1.0)
    assert scene.desk.state is RunnerState.FAILED
    assert scene.desk.reason == "the last runner failed: it ended by itself"
