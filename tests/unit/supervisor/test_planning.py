"""The order in which ladders are made."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from appliance.errors import ClientGone, ShuttingDown
from appliance.planner.facts import Ladder
from appliance.supervisor.planning import Planned, Planning, Rank
from appliance.supervisor.policy import ModelSpec
from appliance.wire.messages import Placement
from tests.fakes.plain_budget import rung_of

WAIT_S = 5.0


def spec(name: str) -> ModelSpec:
    return ModelSpec(name=name, path=name, placement=Placement(n_ctx_seq=1, n_seq_max=1, kv_cells=0))


class Held:
    """A planning thread whose first job lasts until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.made: list[tuple[str, tuple[int, ...]]] = []
        self.answers: SimpleQueue[tuple[str, Planned]] = SimpleQueue()
        self.planning = Planning(self._make)
        self.submit("held")
        self.planning.start()

    def _make(self, spec: ModelSpec, budgets: Sequence[int]) -> Ladder:
        if spec.name == "held":
            assert self.go.wait(WAIT_S)
        self.made.append((spec.name, tuple(budgets)))
        return Ladder(model=spec.name, min_ctx=1, rungs=(rung_of(1),))

    def submit(self, name: str, rank: Rank = Rank.LOAD, *budgets: int) -> None:
        self.planning.submit(
            spec(name), lambda told: self.answers.put((name, told)), rank=rank, budgets=budgets
        )

    def answered(self, count: int) -> list[tuple[str, Planned]]:
        return [self.answers.get(timeout=WAIT_S) for _ in range(count)]


def test_loads_go_before_questions_and_each_as_they_came() -> None:
    held = Held()
    for name, rank in (("q1", Rank.QUESTION), ("a", Rank.LOAD), ("q2", Rank.QUESTION), ("b", Rank.LOAD)):
        held.submit(name, rank)
    held.go.set()
    assert [name for name, _ in held.answered(5)] == ["held", "a", "b", "q1", "q2"]
    held.planning.close()


def test_the_budgets_of_a_question_reach_who_makes_its_ladder() -> None:
    held = Held()
    held.submit("q", Rank.QUESTION, 7, 9)
    held.go.set()
    held.answered(2)
    assert held.made == [("held", ()), ("q", (7, 9))]
    held.planning.close()


def test_a_question_that_nobody_waits_for_any_more_is_not_planned() -> None:
    held = Held()

    def gone() -> None:
        raise ClientGone

    held.planning.submit(
        spec("q"), lambda told: held.answers.put(("q", told)), first=gone, rank=Rank.QUESTION
    )
    held.go.set()
    _, (name, told) = held.answered(2)
    assert (name, type(told)) == ("q", ClientGone)
    assert held.made == [("held", ())]
    held.planning.close()


def test_what_is_not_done_at_the_end_is_answered_too() -> None:
    held = Held()
    held.submit("q", Rank.QUESTION)
    held.submit("a")
    closing = threading.Thread(target=held.planning.close)
    closing.start()
    while not held.planning._is_closed.is_set():
        closing.join(0.001)
    held.go.set()
    closing.join(WAIT_S)
    told = held.answered(3)
    assert [name for name, _ in told] == ["held", "a", "q"]
    assert [type(one) for _, one in told[1:]] == [ShuttingDown, ShuttingDown]
    held.submit("late")
    assert held.answers.get(timeout=WAIT_S)[0] == "late"
