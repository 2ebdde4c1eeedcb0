from __future__ import annotations

from dataclasses import dataclass, field

from appliance.errors import OutpostError, Throttled
from appliance.supervisor.cooling import CoolingDesk, CoolingOrder
from appliance.supervisor.names import plain_key
from appliance.wire.messages import ModelFacts, Ready, Sandbox, SetLimits

SLOW = CoolingOrder(limits=SetLimits(duty=0.5))
FACTS = ModelFacts(
    n_ctx_train=1,
    n_ctx_seq=1,
    n_seq_max=1,
    n_vocab=1,
    n_embd=1,
    n_params=1,
    size_bytes=1,
    description="",
    has_chat_template=False,
)


@dataclass
class FakeRunner:
    ready: Ready | None = None
    told: list[SetLimits] = field(default_factory=list)

    def set_limits(self, limits: SetLimits) -> None:
        self.told.append(limits)


@dataclass
class FakeDesk:
    runner: FakeRunner | None


@dataclass
class FakeTicket:
    answers: list[OutpostError] = field(default_factory=list)

    def answer(self, answer: OutpostError, /) -> None:
        self.answers.append(answer)


def ready() -> FakeRunner:
    sandbox = Sandbox(
        level="none", no_new_privs=False, non_dumpable=False, rlimits=False, landlock_abi=0, seccomp=False
    )
    return FakeRunner(ready=Ready(facts=FACTS, load_s=0.0, measured_bytes=0, sandbox=sandbox))


def test_runners_that_are_ready_are_told_others_are_greeted() -> None:
    cooling, loaded, loading = CoolingDesk(), ready(), FakeRunner()
    cooling.take(SLOW, [FakeDesk(loaded), FakeDesk(loading), FakeDesk(None)])
    assert (loaded.told, loading.told) == ([SLOW.limits], [])
    cooling.greet(loading)
    assert loading.told == [SLOW.limits]


def test_without_limits_nobody_is_greeted() -> None:
    runner = ready()
    CoolingDesk().greet(runner)
    assert runner.told == []


def test_the_same_limits_are_told_once() -> None:
    cooling, runner = CoolingDesk(), ready()
    cooling.take(SLOW, [FakeDesk(runner)])
    cooling.take(CoolingOrder(limits=SetLimits(duty=0.5), hold_background=True), [FakeDesk(runner)])
    assert runner.told == [SLOW.limits]
    assert cooling.order.hold_background


def test_limits_that_end_are_told_too() -> None:
    cooling, runner = CoolingDesk(), ready()
    cooling.take(SLOW, [FakeDesk(runner)])
    cooling.take(CoolingOrder(), [FakeDesk(runner)])
    assert runner.told == [SLOW.limits, SetLimits()]


def test_a_refusal_answers_new_requests() -> None:
    cooling, ticket = CoolingDesk(), FakeTicket()
    assert not cooling.refuses(ticket)
    refusal = Throttled(reason="cpu is hot", retry_after_s=30.0)
    cooling.take(CoolingOrder(refusal=refusal), [])
    assert cooling.refuses(ticket)
    assert ticket.answers == [refusal]


def test_siblings_are_found_by_the_rule_for_names() -> None:
    cooling = CoolingDesk()
    assert cooling.stand_in("big", plain_key) is None
    cooling.take(CoolingOrder(siblings={"Big": "small"}), [])
    assert cooling.stand_in("big", str.lower) == "small"
    assert cooling.stand_in("small", str.lower) is None
