"""Models that come and go, without a process, thread or clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from appliance.errors import ModelBroken, ModelNotFound, OutpostError, ShuttingDown
from appliance.supervisor.catalog import Catalog
from appliance.supervisor.desk import Desk
from appliance.supervisor.history import FileStamp
from appliance.supervisor.names import plain_key
from appliance.supervisor.policy import ModelDefaults, ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.states import RunnerState
from appliance.wire.messages import Adapter
from tests.unit.supervisor.desk_scene import FACTS, SPEC, FakeTicket

A = replace(SPEC, name="a", path="/a.gguf")
B = replace(SPEC, name="b", path="/b.gguf")
NEW_A = replace(A, path="/a2.gguf")


@dataclass
class Effects:
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def start_runner(self, desk: Desk[str], /) -> None:
        self.started.append(desk.spec.path)

    def stop_runner(self, runner: str, error: OutpostError | None) -> None:
        self.stopped.append(runner)

    def stamp(self, path: str) -> FileStamp | None:
        return None


class Scene:
    def __init__(self, *specs: ModelSpec) -> None:
        self.effects = Effects()
        self.catalog: Catalog[str] = Catalog(make=self._desk, resolve=plain_key)
        self.catalog.set_models(specs, 0.0)

    def _desk(self, spec: ModelSpec) -> Desk[str]:
        return Desk(spec, queue=QueuePolicy(), runners=RunnerPolicy(), effects=self.effects)

    def ask(self, name: str) -> FakeTicket:
        ticket = FakeTicket()
        self.catalog.acquire(plain_key(name), ticket, 0.0, asked=name)
        return ticket

    def release(self, name: str, ticket: FakeTicket) -> None:
        self.catalog.release(plain_key(name), ticket, 1.0, succeeded=True)
        self.catalog.tick(1.0)

    def load(self, name: str, runner: str = "r1") -> Desk[str]:
        """The runner of a model that was asked for is ready."""
        desk = self.desk(name)
        desk.started(runner)
        desk.ready(runner, FACTS, 0.0)
        return desk

    def end(self, desk: Desk[str], runner: str = "r1") -> None:
        desk.gone(runner, None, 0.0)
        self.catalog.tick(0.0)

    def desk(self, name: str) -> Desk[str]:
        return self.catalog.desks[plain_key(name)]

    @property
    def names(self) -> list[str]:
        return [desk.spec.name for desk in self.catalog.desks.values()]


@pytest.mark.parametrize("asked", ["smollm2", "SmolLM2", "smollm2:latest", "SMOLLM2:Latest"])
def test_a_name_is_found_in_any_case_with_and_without_latest(asked: str) -> None:
    scene = Scene(replace(SPEC, name="smollm2"))
    assert scene.ask(asked).answers == []
    assert scene.effects.started == ["/m.gguf"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("m", "m:latest"),
        ("host:5000/m", "host:5000/m:latest"),
        ("host:5000/N/M:Q4_K_M", "host:5000/n/m:q4_k_m"),
    ],
)
def test_a_port_is_no_tag(name: str, key: str) -> None:
    assert plain_key(name) == key


def test_an_unknown_name_is_told_as_it_was_asked_with_the_known_ones() -> None:
    error = Scene(B, A).ask("X:y").error
    assert isinstance(error, ModelNotFound)
    assert (error.fields["model"], error.fields["available"]) == ("X:y", ["a", "b"])


def test_of_two_models_with_one_key_the_first_counts() -> None:
    scene = Scene(A, replace(NEW_A, name="A:latest"))
    assert [desk.spec.path for desk in scene.catalog.desks.values()] == ["/a.gguf"]


def test_the_same_set_again_changes_nothing() -> None:
    scene = Scene(A, B)
    desks = dict(scene.catalog.desks)
    scene.catalog.set_models([A, B], 0.0)
    assert dict(scene.catalog.desks) == desks
    assert scene.catalog.leaving == []


def test_a_model_that_is_added_can_be_asked_for_at_once() -> None:
    scene = Scene(A)
    scene.catalog.add(B, 0.0)
    assert scene.ask("b").answers == []
    assert scene.effects.started == ["/b.gguf"]


def test_a_model_to_be_preloaded_starts_when_it_is_added() -> None:
    scene = Scene()
    scene.catalog.add(replace(A, preload=True), 0.0)
    assert scene.effects.started == ["/a.gguf"]


def test_a_removed_model_without_a_runner_is_gone_at_once() -> None:
    scene = Scene(A, B)
    scene.catalog.remove("A", 0.0)
    scene.catalog.tick(0.0)
    assert scene.names == ["b"]
    assert scene.catalog.leaving == []
    assert isinstance(scene.ask("a").error, ModelNotFound)


def test_removing_what_is_not_there_does_nothing() -> None:
    scene = Scene(A)
    scene.catalog.remove("x", 0.0)
    assert scene.names == ["a"]


def test_a_removed_model_finishes_what_runs_and_then_ends_its_runner() -> None:
    scene = Scene(A)
    ticket = scene.ask("a")
    desk = scene.load("a")
    scene.catalog.remove("a", 0.0)
    assert ticket.answers == ["r1"]
    assert desk.state is RunnerState.DRAINING
    assert scene.effects.stopped == []
    scene.release("a", ticket)
    assert scene.effects.stopped == ["r1"]
    scene.end(desk)
    assert scene.catalog.leaving == []


def test_those_who_wait_for_a_removed_model_are_told_that_it_is_gone() -> None:
    scene = Scene(A, B)
    ticket = scene.ask("a")
    scene.catalog.remove("a", 0.0)
    assert isinstance(ticket.error, ModelNotFound)
    assert ticket.error.fields["available"] == ["b"]


def test_a_runner_that_is_ready_only_after_the_removal_is_stopped() -> None:
    scene = Scene(A)
    scene.ask("a")
    desk = scene.desk("a")
    scene.catalog.remove("a", 0.0)
    desk.started("r1")
    assert scene.effects.stopped == ["r1"]


def test_other_files_start_only_when_the_old_runner_has_ended_and_nobody_in_the_queue_notices() -> None:
    scene = Scene(A)
    running = scene.ask("a")
    old = scene.load("a")
    scene.catalog.set_models([NEW_A], 0.0)
    waiting = scene.ask("a")
    assert scene.effects.started == ["/a.gguf"]
    scene.release("a", running)
    assert scene.effects.stopped == ["r1"]
    assert scene.effects.started == ["/a.gguf"]
    scene.end(old)
    assert scene.effects.started == ["/a.gguf", "/a2.gguf"]
    scene.load("a", "r2")
    assert waiting.answers == ["r2"]


def test_those_who_waited_for_the_old_files_get_the_new_ones() -> None:
    scene = Scene(A)
    ticket = scene.ask("a")
    old = scene.desk("a")
    old.started("r1")
    scene.catalog.add(NEW_A, 0.0)
    assert ticket.answers == []
    scene.end(old)
    scene.load("a", "r2")
    assert ticket.answers == ["r2"]


def test_a_third_version_waits_for_all_before_it() -> None:
    scene = Scene(A)
    ticket = scene.ask("a")
    first = scene.load("a")
    scene.catalog.add(NEW_A, 0.0)
    waiting = scene.ask("a")
    scene.catalog.add(replace(A, path="/a3.gguf"), 0.0)
    scene.catalog.tick(0.0)
    assert len(scene.catalog.leaving) == 1, "the second never had a runner"
    scene.release("a", ticket)
    scene.end(first)
    assert scene.effects.started == ["/a.gguf", "/a3.gguf"]
    scene.load("a", "r3")
    assert waiting.answers == ["r3"]


def test_a_model_that_comes_back_waits_for_its_former_runner() -> None:
    scene = Scene(A)
    ticket = scene.ask("a")
    old = scene.load("a")
    scene.catalog.remove("a", 0.0)
    scene.catalog.add(replace(A, preload=True), 0.0)
    assert scene.effects.started == ["/a.gguf"]
    scene.release("a", ticket)
    scene.end(old)
    assert scene.effects.started == ["/a.gguf"] * 2


def test_other_words_around_a_model_leave_its_runner_alone() -> None:
    scene = Scene(A)
    scene.ask("a")
    desk = scene.load("a")
    described = replace(A, name="A", defaults=ModelDefaults(system="Be brief."), size_bytes=5)
    scene.catalog.set_models([described], 0.0)
    assert scene.desk("a") is desk
    assert desk.spec == described
    assert scene.effects.stopped == []


@pytest.mark.parametrize(
    "other",
    [
        replace(A, chat_template="{{ 1 }}"),
        replace(A, draft_path="/d.gguf"),
        replace(A, paths=("/a.gguf", "/b.gguf")),
        replace(A, adapters=(Adapter(name="x", path="/x.gguf"),)),
        replace(A, broken="its bytes have changed"),
    ],
)
def test_what_a_runner_knows_makes_another_desk(other: ModelSpec) -> None:
    scene = Scene(A)
    desk = scene.desk("a")
    scene.catalog.add(other, 0.0)
    assert scene.desk("a") is not desk


def test_a_broken_model_says_so_and_is_never_started() -> None:
    scene = Scene(replace(A, broken="a blob is zeroed", preload=True))
    error = scene.ask("a").error
    assert isinstance(error, ModelBroken)
    assert "a blob is zeroed" in error.message
    assert scene.effects.started == []
    assert scene.desk("a").reason == "broken: a blob is zeroed"
    assert scene.desk("a").state is RunnerState.FAILED


def test_a_model_that_breaks_while_it_is_served_ends_its_runner_and_refuses_who_waits() -> None:
    scene = Scene(A)
    ticket = scene.ask("a")
    desk = scene.desk("a")
    desk.started("r1")
    scene.catalog.add(replace(A, broken="a blob is zeroed"), 0.0)
    assert isinstance(ticket.error, ModelBroken)
    assert scene.effects.stopped == ["r1"]


def test_a_repaired_model_is_served_again() -> None:
    scene = Scene(replace(A, broken="a blob is zeroed"))
    scene.catalog.add(A, 0.0)
    assert scene.ask("a").answers == []
    assert scene.effects.started == ["/a.gguf"]


def test_an_empty_catalog_is_over_when_it_is_drained_and_not_before() -> None:
    scene = Scene()
    assert not scene.catalog.is_over
    scene.catalog.drain(0.0)
    assert scene.catalog.is_over


def test_a_drain_waits_for_those_that_leave_too_and_takes_nothing_new() -> None:
    scene = Scene(A, B)
    ticket = scene.ask("a")
    old = scene.load("a")
    scene.catalog.remove("a", 0.0)
    scene.catalog.drain(0.0)
    scene.catalog.set_models([A], 0.0)
    assert isinstance(scene.ask("b").error, ModelNotFound | ShuttingDown)
    assert not scene.catalog.is_over
    scene.release("a", ticket)
    scene.end(old)
    assert scene.catalog.is_over


def test_a_halt_ends_those_that_leave_too() -> None:
    scene = Scene(A)
    scene.ask("a")
    scene.load("a")
    scene.catalog.remove("a", 0.0)
    scene.catalog.halt()
    assert scene.effects.stopped == ["r1"]
