"""Real runner processes on a board that holds one of them: turns, evictions, keep-alive, refusals."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from appliance.errors import InsufficientMemory, ModelInvalid, OutpostError, RunnerStartFailed
from appliance.planner.budget import Budget
from appliance.planner.facts import Footprint, Ladder, Rung
from appliance.supervisor.policy import ModelSpec, QueuePolicy
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker
from tests.fakes.plain_budget import plain_budget
from tests.integration.supervisor.asking import Model, ask, deltas_of
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec

pytestmark = [pytest.mark.alone, pytest.mark.timeout(60)]

GIB = 1 << 30


@dataclass
class FakePlans:
    """Each model is planned with 1 GiB, or as its name says; there is so much in all."""

    gib: float = 1.5
    needs_gib: dict[str, float] = field(default_factory=dict)
    fault: Exception | None = None
    plan_s: float = 0.0
    ladders: int = 0
    learned: list[tuple[str, int]] = field(default_factory=list)

    def ladder(self, spec: ModelSpec, budgets: Sequence[int] = ()) -> Ladder:
        self.ladders += 1
        time.sleep(self.plan_s)
        if self.fault is not None:
            raise self.fault
        footprint = Footprint(
            weights_bytes=int(self.needs_gib.get(spec.name, 1.0) * GIB),
            mapped_bytes=0,
            cache_bytes=0,
            compute_bytes=0,
            output_bytes=0,
            process_bytes=0,
        )
        rung = Rung(placement=spec.placement, footprint=footprint)
        return Ladder(model=spec.name, min_ctx=256, rungs=(rung,), comfortable=64)

    def budget(self) -> Budget:
        return plain_budget(self.gib * GIB)

    def reclaim(self) -> None: ...

    def learn(self, spec: ModelSpec, _rung: Rung, measured_bytes: int) -> None:
        self.learned.append((spec.name, measured_bytes))


def text(supervisor: Supervisor, name: str, tokens: int = 4, *, keep_alive_s: float | None = None) -> str:
    generation = supervisor.generate(name, ask(tokens), asker=Asker(owner="a", keep_alive_s=keep_alive_s))
    return "".join(delta.text for delta in deltas_of(generation))


def states(supervisor: Supervisor) -> dict[str, str]:
    return {status.name: status.state.value for status in supervisor.status()}


def test_two_models_on_a_board_for_one_take_turns(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(), name="a"), spec(model(), name="b"), plans=FakePlans())
    for name in "abab":
        assert text(supervisor, name) == "0 1 2 3 "
        assert list(states(supervisor).values()).count("ready") == 1


def test_a_model_that_waits_gets_its_turn_beside_an_endless_stream_of_requests_for_the_other(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.01), name="a"), spec(model(), name="b"), plans=FakePlans())
    over = threading.Event()
    answered: list[str] = []

    def crowd() -> None:
        while not over.is_set():
            answered.append(text(supervisor, "a", 8))

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(crowd) for _ in range(4)]
        eventually(lambda: len(answered) > 4)
        began = time.monotonic()
        assert text(supervisor, "b") == "0 1 2 3 "
        waited_s = time.monotonic() - began
        before = len(answered)
        eventually(lambda: len(answered) > before, within_s=10.0)
        over.set()
        for client in clients:
            client.result()
    assert set(answered) == {"0 1 2 3 4 5 6 7 "}
    assert waited_s < 10.0


def test_two_hundred_first_requests_plan_and_start_one_runner(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = FakePlans(plan_s=0.1)
    policy = QueuePolicy(max_waiting=200, patience_s=30.0)
    supervisor = supervise(spec(model(), name="a"), plans=plans, queue=policy)
    with ThreadPoolExecutor(200) as pool:
        texts = list(pool.map(lambda _: text(supervisor, "a", 2), range(200)))
    assert texts == ["0 1 "] * 200
    assert (plans.ladders, supervisor.status()[0].starts) == (1, 1)
    assert [name for name, _ in plans.learned] == ["a"]


def test_past_its_keep_alive_the_process_is_gone_and_the_next_request_starts_another(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(replace(spec(model(), name="a"), keep_alive_s=0.2), plans=FakePlans())
    assert text(supervisor, "a", keep_alive_s=math.inf) == "0 1 2 3 "
    time.sleep(0.5)
    assert states(supervisor) == {"a": "ready"}
    assert text(supervisor, "a") == "0 1 2 3 "
    eventually(lambda: states(supervisor) == {"a": "stopped"}, within_s=2.0)
    assert supervisor.status()[0].runner_pid is None
    assert text(supervisor, "a", keep_alive_s=0.0) == "0 1 2 3 "
    eventually(lambda: states(supervisor) == {"a": "stopped"}, within_s=2.0)
    assert supervisor.status()[0].crashes == 0


def test_a_model_can_be_loaded_beforehand_and_put_out_while_it_answers(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(step_s=0.02), name="a"), plans=FakePlans())
    assert supervisor.load("a", asker=Asker(owner="a")).state == "ready"
    generation = supervisor.generate("a", ask(20), asker=Asker(owner="a"))
    assert supervisor.unload("a").name == "a"
    assert states(supervisor) == {"a": "ready"}
    assert len("".join(delta.text for delta in deltas_of(generation)).split()) == 20
    eventually(lambda: states(supervisor) == {"a": "stopped"}, within_s=2.0)


def test_pressure_puts_out_an_idle_model_within_half_a_second_and_never_one_that_answers(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(
        spec(model(), name="idle"), spec(model(step_s=0.05), name="busy"), plans=FakePlans(gib=4.0)
    )
    text(supervisor, "idle")
    generation = supervisor.generate("busy", ask(40), asker=Asker(owner="a"))
    supervisor.relieve()
    began = time.monotonic()
    eventually(lambda: states(supervisor)["idle"] == "stopped", within_s=2.0)
    assert time.monotonic() - began < 0.5
    for _ in range(5):
        supervisor.relieve()
    assert len(deltas_of(generation)) >= 1
    assert states(supervisor)["busy"] == "ready"


def test_without_memory_a_request_is_refused_at_once_and_the_model_is_no_crash(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = FakePlans(needs_gib={"big": 9.0})
    supervisor = supervise(spec(model(), name="big"), plans=plans)
    with pytest.raises(InsufficientMemory, match=r"needs 9\.66 GB"):
        text(supervisor, "big")
    status = supervisor.status()[0]
    assert (status.state, status.crashes, status.is_quarantined) == ("stopped", 0, False)
    assert status.reason is not None
    assert status.reason.startswith("model 'big' needs ")
    plans.gib = 10.0
    assert text(supervisor, "big") == "0 1 2 3 "


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ModelInvalid(model="a", reason="the sizer died over it"), ModelInvalid),
        (ZeroDivisionError("a bug of ours"), RunnerStartFailed),
    ],
)
def test_a_plan_that_fails_is_the_answer_and_ends_nothing_else(
    supervise: MakeSupervisor, model: Model, fault: Exception, expected: type[OutpostError]
) -> None:
    plans = FakePlans(fault=fault)
    supervisor = supervise(spec(model(), name="a"), plans=plans)
    with pytest.raises(expected):
        text(supervisor, "a")
    plans.fault = None
    eventually(lambda: states(supervisor)["a"] in {"failed", "stopped"})
    time.sleep(0.2)
    assert text(supervisor, "a") == "0 1 2 3 "


def test_a_stop_while_a_model_is_planned_and_others_wait_for_memory_answers_all(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = FakePlans()
    supervisor = supervise(spec(model(step_s=0.05), name="a"), spec(model(), name="b"), plans=plans)
    generation = supervisor.generate("a", ask(100), asker=Asker(owner="a"))
    faults: list[str] = []

    def waiting() -> None:
        try:
            text(supervisor, "b")
        except OutpostError as error:
            faults.append(type(error).__name__)

    clients = [threading.Thread(target=waiting) for _ in range(3)]
    for client in clients:
        client.start()
    eventually(lambda: states(supervisor)["b"] == "starting")
    assert supervisor.drain(0.2)
    for client in clients:
        client.join(5.0)
    generation.close()
    assert faults == ["ShuttingDown"] * 3


def test_two_hundred_loads_and_evictions_in_any_order_answer_every_request(
    supervise: MakeSupervisor, model: Model
) -> None:
    """Four models, room for two: every request is answered with its text, whatever is put out meanwhile."""
    names = ("a", "b", "c", "d")
    plans = FakePlans(gib=2.5)
    supervisor = supervise(*(spec(model(), name=name) for name in names), plans=plans)
    chance = random.Random(4)

    def act(number: int) -> str:
        name = chance.choice(names)
        match number % 5:
            case 0:
                supervisor.unload(name)
            case 1:
                supervisor.relieve()
            case _:
                return text(supervisor, name, 2, keep_alive_s=chance.choice([None, 0.0, 0.05]))
        return "0 1 "

    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(act, range(200)))
    assert texts == ["0 1 "] * 200
    assert max(list(states(supervisor).values()).count("ready"), 0) <= 2
