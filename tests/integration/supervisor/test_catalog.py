"""Models that come and go under real runners."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import ModelBroken, ModelNotFound
from appliance.supervisor.inference import Generation
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from appliance.wire.messages import Delta, Generate, TextPrompt
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec

pytestmark = pytest.mark.alone

Model = Callable[..., Path]


def begin(supervisor: Supervisor, name: str = "m", tokens: int = 8) -> Generation:
    request = Generate(id=0, prompt=TextPrompt(text="hello"), max_tokens=tokens)
    return supervisor.generate(name, request, asker=Asker(owner="a"))


def text_of(generation: Generation) -> str:
    found: list[Delta] = []
    while not found or found[-1].usage is None:
        found += [item for item in generation.next(5.0) or [] if isinstance(item, Delta)]
    generation.close()
    return "".join(delta.text for delta in found)


def test_a_daemon_may_begin_with_no_model_and_be_given_one(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise()
    with pytest.raises(ModelNotFound, match="available: none"):
        begin(supervisor)
    supervisor.add_model(spec(model()))
    assert text_of(begin(supervisor, "M:latest", 3)) == "0 1 2 "
    assert supervisor.find("M").name == "m"


def test_a_removed_model_finishes_its_stream_and_its_runner_ends(
    supervise: MakeSupervisor, model: Model
) -> None:
    path = model(step_s=0.02)
    supervisor = supervise(spec(path))
    generation = begin(supervisor, tokens=20)
    supervisor.remove_model("m")
    with pytest.raises(ModelNotFound):
        begin(supervisor)
    assert supervisor.models() == []
    assert supervisor.paths_in_use() == {str(path)}
    assert text_of(generation) == "".join(f"{number} " for number in range(20))
    eventually(lambda: supervisor.paths_in_use() == frozenset())


def test_new_files_under_a_name_are_served_after_the_old_ones(
    supervise: MakeSupervisor, model: Model
) -> None:
    first, second = model(step_s=0.02), model()
    supervisor = supervise(spec(first))
    generation = begin(supervisor, tokens=20)
    supervisor.set_models([spec(second)])
    assert supervisor.paths_in_use() == {str(first)}
    assert len(text_of(generation).split()) == 20
    assert text_of(begin(supervisor, tokens=2)) == "0 1 "
    assert supervisor.paths_in_use() == {str(second)}
    assert supervisor.status()[0].starts == 1


def test_a_model_found_broken_is_refused_with_the_reason_and_works_when_repaired(
    supervise: MakeSupervisor, model: Model
) -> None:
    good = spec(model())
    supervisor = supervise(good)
    assert text_of(begin(supervisor, tokens=1)) == "0 "
    supervisor.add_model(replace(good, broken="a blob is zeroed"))
    with pytest.raises(ModelBroken, match="a blob is zeroed"):
        begin(supervisor)
    assert supervisor.find("m").reason == "broken: a blob is zeroed"
    supervisor.add_model(good)
    assert text_of(begin(supervisor, tokens=1)) == "0 "


def test_many_models_that_come_and_go_leave_no_runner(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise()
    specs = [spec(model(), name=f"m{number}") for number in range(3)]
    for number in range(9):
        one = specs[number % 3]
        supervisor.set_models([one])
        assert text_of(begin(supervisor, one.name, 1)) == "0 "
    supervisor.set_models([])
    eventually(lambda: supervisor.paths_in_use() == frozenset())


def test_what_was_changed_is_seen_at_once(supervise: MakeSupervisor, model: Model) -> None:
    supervisor, one = supervise(), spec(model())
    for _ in range(200):
        supervisor.add_model(one)
        assert supervisor.find("m").name == "m"
        supervisor.remove_model("m")
        with pytest.raises(ModelNotFound):
            supervisor.find("m")


def test_a_drain_without_models_is_over_at_once(supervise: MakeSupervisor) -> None:
    supervisor = supervise()
    assert supervisor.beat(1.0)
    assert supervisor.drain(0.5)


def test_files_that_no_model_has_any_more_are_told_of_when_their_runner_has_ended(
    supervise: MakeSupervisor, model: Model
) -> None:
    path, released = model(step_s=0.02), threading.Event()
    supervisor = supervise(spec(path), on_released=released.set)
    generation = begin(supervisor, tokens=20)
    supervisor.remove_model("m")
    assert not released.is_set()
    assert text_of(generation)
    assert released.wait(5)
    assert supervisor.paths_in_use() == frozenset()


def test_a_runner_that_ends_while_its_model_stays_releases_nothing(
    supervise: MakeSupervisor, model: Model
) -> None:
    first, second, told = model(), model(), []
    supervisor = supervise(spec(first), spec(second, name="n"), on_released=lambda: told.append(1))
    assert text_of(begin(supervisor, tokens=1)) == "0 "
    assert text_of(begin(supervisor, "n", tokens=1)) == "0 "
    supervisor.set_models([spec(first), spec(first, name="n")])
    eventually(lambda: told == [1])
    supervisor.set_models([spec(first)])
    assert supervisor.drain(2.0)
    assert told == [1]
