"""Questions whether a model would fit, beside real runner processes: nothing starts or ends for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from appliance.errors import (
    ClientGone,
    DeadlineExceeded,
    InsufficientMemory,
    InvalidReference,
    ModelBroken,
    ModelInvalid,
    ModelNotFound,
    Overloaded,
    Unsupported,
)
from appliance.planner.facts import Ladder
from appliance.planner.fit_answer import FitAnswer, FitVerdict
from appliance.supervisor.fit_wish import FitWish
from appliance.supervisor.fitting import MOST_OPEN
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.turn import Asker, Turn
from tests.integration.supervisor.asking import Model, ask, deltas_of
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec
from tests.integration.supervisor.test_residency import GIB, FakePlans, states, text

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ANYBODY = Asker(owner="a")


def fit(supervisor: Supervisor, name: str, wish: FitWish = FitWish()) -> FitAnswer:  # noqa: B008 - frozen
    return supervisor.fit(name, wish, asker=ANYBODY)


@dataclass
class HeldPlans(FakePlans):
    """The ladders of `held` are made when `go` is set."""

    held: str = "held"
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def ladder(self, spec: ModelSpec, budgets: Sequence[int] = ()) -> Ladder:
        self.asked.append(spec.name)
        if spec.name == self.held:
            assert self.go.wait(20.0)
        return super().ladder(spec, budgets)


def test_a_question_tells_what_the_load_then_does_and_starts_nothing(
    supervise: MakeSupervisor, model: Model
) -> None:
    supervisor = supervise(spec(model(), name="a"), spec(model(), name="b"), plans=FakePlans())
    told = fit(supervisor, "a")
    assert (told.verdict, told.in_memory, states(supervisor)["a"]) == (FitVerdict.FITS, None, "stopped")
    text(supervisor, "a")
    there = fit(supervisor, "a").in_memory
    assert there is not None
    assert (there.state, there.rung) == ("ready", told.rung)
    evicts = fit(supervisor, "b")
    assert evicts.verdict is FitVerdict.EVICTS
    assert states(supervisor) == {"a": "ready", "b": "stopped"}
    assert [status.starts for status in supervisor.status()] == [1, 0]
    text(supervisor, "b")
    assert states(supervisor) == {"a": "stopped", "b": "ready"}


def test_a_busy_model_is_waited_for_by_name(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(step_s=0.05), name="busy"), spec(model(), name="b"), plans=FakePlans())
    generation = supervisor.generate("busy", ask(20), asker=ANYBODY)
    told = fit(supervisor, "b")
    assert told.verdict is FitVerdict.WAITS
    assert getattr(told.outcome, "busy", ()) == ("busy",)
    assert len("".join(delta.text for delta in deltas_of(generation)).split()) == 20


def test_what_never_fits_is_answered_and_not_raised(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(), name="big"), plans=FakePlans(needs_gib={"big": 9.0}))
    told = fit(supervisor, "big")
    assert isinstance(told.refusal, InsufficientMemory)
    assert told.refusal.fields["needed_bytes"] == 9 * GIB
    assert supervisor.status()[0].reason is None


def test_wishes_are_planned_for(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(), name="a"), plans=FakePlans())
    rung = fit(supervisor, "A", FitWish(n_ctx_seq=99, n_seq_max=3)).rung
    assert rung is not None
    assert (rung.placement.n_ctx_seq, rung.placement.n_seq_max) == (99, 3)


def test_what_cannot_be_answered_is_raised_as_its_type(supervise: MakeSupervisor, model: Model) -> None:
    broken = replace(spec(model(), name="broken"), broken="its bytes have changed")
    plans = FakePlans(fault=ModelInvalid(model="a", reason="no weights"))
    supervisor = supervise(spec(model(), name="a"), broken, plans=plans)
    for name, expected in (("x", ModelNotFound), ("broken", ModelBroken), ("a", ModelInvalid)):
        with pytest.raises(expected):
            fit(supervisor, name)
    unplanned = supervise(spec(model(), name="a"))
    with pytest.raises(Unsupported):
        fit(unplanned, "a")


def test_a_model_that_is_taken_away_while_it_is_planned_is_not_found(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = HeldPlans()
    supervisor = supervise(spec(model(), name="held"), plans=plans)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(fit, supervisor, "held")
        eventually(lambda: plans.asked == ["held"])
        supervisor.remove_model("held")
        plans.go.set()
        assert isinstance(asking.exception(5.0), ModelNotFound)


def test_questions_are_bounded_and_a_load_goes_before_those_that_wait(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = HeldPlans()
    supervisor = supervise(spec(model(), name="held"), spec(model(), name="a"), plans=plans)
    with ThreadPoolExecutor(MOST_OPEN + 1) as pool:
        asking = [pool.submit(fit, supervisor, "held")]
        eventually(lambda: plans.asked == ["held"])
        asking += [pool.submit(fit, supervisor, "a") for _ in range(MOST_OPEN - 1)]
        eventually(lambda: are_open(supervisor) == MOST_OPEN)
        with pytest.raises(Overloaded, match="8 of 8"):
            fit(supervisor, "a")
        load = pool.submit(text, supervisor, "a")
        eventually(lambda: states(supervisor)["a"] == "starting")
        plans.go.set()
        assert load.result(10.0) == "0 1 2 3 "
        assert {one.result(10.0).model for one in asking} == {"held", "a"}
    assert plans.asked == ["held"] + ["a"] * MOST_OPEN
    assert fit(supervisor, "a").verdict is FitVerdict.FITS


def are_open(supervisor: Supervisor) -> int:
    assert supervisor._placing is not None
    return supervisor._placing.fitting._open


def test_who_has_no_time_or_goes_away_is_let_go_and_his_ladder_is_not_made(
    supervise: MakeSupervisor, model: Model
) -> None:
    plans = HeldPlans()
    supervisor = supervise(spec(model(), name="held"), spec(model(), name="a"), plans=plans)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(fit, supervisor, "held")
        eventually(lambda: plans.asked == ["held"])
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            supervisor.fit("a", FitWish(), asker=Asker(owner="a", turn=Turn(deadline_s=0.2)))
        with pytest.raises(ClientGone):
            supervisor.fit("a", FitWish(), asker=Asker(owner="a", gone=lambda: True))
        assert time.monotonic() - began < 5.0
        plans.go.set()
        asking.result(5.0)
    fit(supervisor, "a")
    assert plans.asked == ["held", "a"]


def test_a_stop_answers_questions_too(supervise: MakeSupervisor, model: Model) -> None:
    plans = HeldPlans()
    supervisor = supervise(spec(model(), name="held"), plans=plans)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(fit, supervisor, "held")
        eventually(lambda: plans.asked == ["held"])
        assert supervisor.drain(1.0)
        plans.go.set()
        assert asking.exception(5.0) is None


def test_a_name_that_is_none_is_refused(supervise: MakeSupervisor, model: Model) -> None:
    supervisor = supervise(spec(model(), name="a"), plans=FakePlans())
    for name in ("", "\0", "x" * 5000, "../..", "a b", "a@sha256:" + "0" * 64):
        with pytest.raises((ModelNotFound, InvalidReference)):
            fit(supervisor, name)
