"""Keep-alive, eviction, giving way, and no memory at all: decisions of one desk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.errors import InsufficientMemory
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.states import RunnerState
from tests.unit.supervisor.desk_scene import PRELOADED, SPEC, Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def kept(keep_alive_s: float) -> Scene:
    return Scene(replace(SPEC, keep_alive_s=keep_alive_s))


def served(scene: Scene, *, until_s: float) -> None:
    """One request came at 0 and was answered at `until_s`."""
    ticket = scene.ask()
    scene.load()
    scene.desk.release(ticket, until_s, succeeded=True)


def test_an_idle_model_is_evicted_when_its_keep_alive_is_over_and_not_before() -> None:
    scene = kept(10.0)
    served(scene, until_s=5.0)
    assert scene.timer() == 15.0
    scene.desk.tick(14.9)
    assert scene.is_in(RunnerState.READY)
    scene.desk.tick(15.0)
    assert scene.is_in(RunnerState.STOPPING)
    assert scene.effects.stopped == [("r1", None)]
    scene.desk.gone("r1", None, 15.5)
    assert scene.is_in(RunnerState.STOPPED)
    assert scene.effects.started == 1


def test_a_request_in_time_starts_the_keep_alive_anew() -> None:
    scene = kept(10.0)
    served(scene, until_s=5.0)
    ticket = scene.ask(14.0)
    assert scene.timer() is None
    scene.desk.release(ticket, 20.0, succeeded=True)
    scene.desk.tick(15.0)
    assert scene.is_in(RunnerState.READY)
    assert scene.timer() == 30.0


def test_a_keep_alive_of_nothing_evicts_with_the_end_of_the_last_lease() -> None:
    scene = kept(0.0)
    first, second = scene.ask(), scene.ask()
    scene.load()
    scene.desk.release(first, 1.0, succeeded=True)
    assert scene.effects.stopped == []
    scene.desk.release(second, 2.0, succeeded=True)
    assert scene.effects.stopped == [("r1", None)]


def test_a_request_s_own_keep_alive_counts_until_the_next_wish() -> None:
    scene = kept(10.0)
    served(scene, until_s=5.0)
    wishing = scene.ask(6.0, keep_alive_s=60.0)
    scene.desk.release(wishing, 7.0, succeeded=True)
    assert scene.desk.expires_at_s == 67.0
    without = scene.ask(8.0)
    scene.desk.release(without, 9.0, succeeded=True)
    assert scene.desk.expires_at_s == 19.0


@pytest.mark.parametrize("spec", [replace(SPEC, pin=True, keep_alive_s=1.0), SPEC])
def test_a_pinned_model_and_one_kept_for_ever_never_expire(spec: ModelSpec) -> None:
    scene = Scene(spec)
    served(scene, until_s=5.0)
    assert scene.desk.expires_at_s is None
    assert scene.timer() is None
    scene.desk.tick(1e9)
    assert scene.is_in(RunnerState.READY)


def test_who_comes_while_an_evicted_runner_ends_gets_the_next_one() -> None:
    scene = kept(0.0)
    served(scene, until_s=1.0)
    late = scene.ask(1.1)
    assert (late.answers, scene.effects.started) == ([], 1)
    scene.desk.gone("r1", None, 1.5)
    assert scene.effects.started == 2
    scene.load("r2", 2.0)
    assert late.answers == ["r2"]


def test_a_preloaded_model_that_was_evicted_comes_back_with_a_request_only() -> None:
    scene = Scene(PRELOADED)
    scene.desk.begin(0.0)
    scene.load()
    scene.desk.evict()
    scene.desk.gone("r1", None, 1.0)
    assert scene.is_in(RunnerState.STOPPED)
    assert scene.effects.started == 1
    scene.ask(2.0)
    assert scene.effects.started == 2


def test_one_that_gives_way_grants_nothing_more_and_ends_with_its_last_lease() -> None:
    scene = Scene()
    running = scene.ask()
    scene.load()
    scene.desk.give_way(1.0)
    late = scene.ask(2.0)
    assert late.answers == []
    assert scene.effects.stopped == []
    scene.desk.release(running, 3.0, succeeded=True)
    assert scene.effects.stopped == [("r1", None)]
    scene.desk.gone("r1", None, 4.0)
    scene.load("r2", 5.0)
    assert late.answers == ["r2"]


def test_one_that_still_loads_gives_way_when_it_is_ready_unless_somebody_waits_for_it() -> None:
    unwanted = Scene(PRELOADED)
    unwanted.desk.begin(0.0)
    unwanted.desk.give_way(1.0)
    unwanted.load(now_s=2.0)
    assert unwanted.effects.stopped == [("r1", None)]
    wanted = Scene()
    ticket = wanted.ask()
    wanted.desk.give_way(1.0)
    wanted.load(now_s=2.0)
    assert (ticket.answers, wanted.effects.stopped) == (["r1"], [])


def test_without_memory_those_who_wait_hear_why_and_nothing_counts_as_a_crash(scene: Scene) -> None:
    ticket = scene.ask()
    error = InsufficientMemory(model="m", needed_bytes=10, available_bytes=5)
    scene.desk.not_placed(error, 1.0)
    assert ticket.error is error
    assert scene.is_in(RunnerState.STOPPED)
    assert scene.desk.history.crashes == 0
    assert scene.desk.reason == error.message
    again = scene.ask(2.0)
    assert scene.effects.started == 2
    scene.load("r2", 3.0)
    assert again.answers == ["r2"]
    assert scene.desk.reason is None


def test_a_preloaded_model_without_memory_tries_again_by_itself() -> None:
    scene = Scene(PRELOADED)
    scene.desk.begin(0.0)
    scene.desk.not_placed(
        InsufficientMemory(model="m", needed_bytes=10, available_bytes=5), 1.0, again_at_s=11.0
    )
    scene.desk.tick(10.0)
    assert scene.effects.started == 1
    scene.desk.tick(11.0)
    assert scene.effects.started == 2


def test_what_waits_for_memory_when_the_daemon_stops_is_over_at_once(scene: Scene) -> None:
    scene.ask()
    scene.desk.drain(1.0)
    assert scene.is_in(RunnerState.STOPPING)
    scene.desk.not_placed(None, 2.0)
    assert scene.desk.is_over
