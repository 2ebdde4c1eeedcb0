"""Grammars share a bounded time of each step, in turns that are fair."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.engine import Engine
from appliance.engine.grammar_turns import GrammarTurns, Turn, share_s
from appliance.errors import InvalidRequest
from appliance.wire.messages import EngineSettings
from tests.fakes.engines import Heard, engine_over, request, run, step_all
from tests.fakes.fake_backend import CostlySampler, FakeBackend, FakeClock, expected

BOUND_S = 0.25
MASK_S = 0.05


@dataclass
class One:
    """A sequence as the turns see it."""

    arrived: int
    costs_s: float
    turn: Turn = field(default_factory=Turn)
    turns: int = 0
    waited: int = 0


def step(turns: GrammarTurns, clock: FakeClock, ready: list[One], *, decode_s: float, others: bool) -> float:
    """One step in which all are ready; returns how long grammars took."""
    begun_s = clock.now_s
    served = []
    for one in turns.take(ready, decode_s=decode_s, beside_others=others):
        clock.now_s += one.costs_s
        one.turns += 1
        served.append(one)
    assert served, "each step has a turn"
    for one in ready:
        one.waited = 0 if one in served else one.waited + 1
    return clock.now_s - begun_s


# ── how long ────────────────────────────────────────────────────────────────────────────────────────────────


@given(decode_s=st.floats(0, 1), others=st.booleans())
def test_decode_and_grammars_together_keep_the_bound(decode_s: float, others: bool) -> None:
    share = share_s(bound_s=BOUND_S, decode_s=decode_s, beside_others=others)
    assert share >= 0.1 * BOUND_S
    assert decode_s + share <= max(BOUND_S, decode_s + 0.1 * BOUND_S) + 1e-9
    if others:
        assert share <= max(decode_s, 0.1 * BOUND_S)


@given(
    costs=st.lists(st.floats(0, MASK_S), min_size=1, max_size=64),
    decode_s=st.floats(0.001, 0.2),
    others=st.booleans(),
)
def test_a_step_is_over_with_the_turn_in_which_the_time_is(
    costs: list[float], decode_s: float, others: bool
) -> None:
    clock = FakeClock()
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    ready = [One(key, cost) for key, cost in enumerate(costs)]
    for _ in range(20):
        took = step(turns, clock, ready, decode_s=decode_s, others=others)
        assert took <= share_s(bound_s=BOUND_S, decode_s=decode_s, beside_others=others) + max(costs) + 1e-9


def test_what_grammars_took_is_left_free_by_the_next_plan(clock: FakeClock) -> None:
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    assert turns.decode_bound_s == BOUND_S
    step(turns, clock, [One(1, MASK_S)], decode_s=0.01, others=True)
    assert turns.decode_bound_s == pytest.approx(BOUND_S - MASK_S)
    step(turns, clock, [One(1, 10.0)], decode_s=0.01, others=True)
    assert turns.decode_bound_s == BOUND_S / 2
    assert list(turns.take([], decode_s=0.01, beside_others=True)) == []
    assert turns.decode_bound_s == BOUND_S


# ── whose turn ──────────────────────────────────────────────────────────────────────────────────────────────


def test_equally_costly_ones_take_turns_in_order_of_arrival(clock: FakeClock) -> None:
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    ready = [One(key, MASK_S) for key in range(32)]
    for steps in range(1, 65):
        step(turns, clock, ready, decode_s=0.01, others=True)
        assert [one.turns for one in ready] == [steps // 32 + (one.arrived < steps % 32) for one in ready]


def test_a_cheap_one_waits_for_no_costly_ones_once_it_is_known(clock: FakeClock) -> None:
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    costly, cheap = [One(key, MASK_S) for key in range(32)], One(99, 0.0001)
    for _ in range(33):
        step(turns, clock, [*costly, cheap], decode_s=0.01, others=True)
    known = cheap.turns
    for _ in range(100):
        step(turns, clock, [*costly, cheap], decode_s=0.01, others=True)
    assert cheap.turns == known + 100
    assert {one.turns for one in costly} <= {4, 5}


@given(costs=st.lists(st.floats(0.0001, MASK_S), min_size=2, max_size=20))
def test_over_time_each_has_the_same_share_or_all_that_it_wants(costs: list[float]) -> None:
    clock = FakeClock()
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    ready = [One(key, cost) for key, cost in enumerate(costs)]
    for _ in range(200):
        step(turns, clock, ready, decode_s=0.01, others=True)
    most = max(one.turns * one.costs_s for one in ready)
    for one in ready:
        assert one.turns * one.costs_s >= most - 2 * MASK_S or one.turns >= 200 - len(ready)


def test_newcomers_without_end_do_not_keep_an_old_one_waiting(clock: FakeClock) -> None:
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    old = One(0, MASK_S)
    for _ in range(10):
        step(turns, clock, [old], decode_s=0.01, others=False)
    longest = 0
    for number in range(400):
        young = [One(1 + 4 * number + key, 0.02) for key in range(4)]
        step(turns, clock, [old, *young], decode_s=0.01, others=True)
        longest = max(longest, old.waited)
    assert longest <= 10


def test_newcomers_begin_at_the_present_and_not_with_all_the_time_others_had(clock: FakeClock) -> None:
    turns = GrammarTurns(bound_s=BOUND_S, clock=clock)
    old = One(0, MASK_S)
    for _ in range(100):
        step(turns, clock, [old], decode_s=0.01, others=False)
    young = One(1, MASK_S)
    for _ in range(10):
        step(turns, clock, [old, young], decode_s=0.01, others=True)
    assert young.turns <= 6 and old.turns >= 104


# ── in the engine ───────────────────────────────────────────────────────────────────────────────────────────


def gaps_s(engine: Engine, clock: FakeClock, key: int, heard: Heard) -> list[float]:
    """Between the tokens of one answer."""
    times = []
    for _ in range(500):
        before = len(heard.deltas)
        heard.take(engine.step())
        engine.kv_cache.check()
        if any(delta.id == key for delta in heard.deltas[before:]):
            times.append(clock.now_s)
        if any(delta.id == key and delta.finish_reason for delta in heard.deltas):
            break
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_plain_answer_goes_on_beside_many_costly_grammars(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=33, per_pass_s=0.01, per_token_s=0.0005)
    engine = engine_over(backend, clock)
    heard = Heard()
    plain = request(1, [5, 6, 7], max_tokens=40, speculates=False)
    heard.take(engine.submit(plain))
    for key in range(2, 34):
        costly = CostlySampler(clock, MASK_S)
        heard.take(engine.submit(request(key, [key], max_tokens=6, grammar=costly, speculates=False)))
    gaps = gaps_s(engine, clock, 1, heard)
    assert len(gaps) == 39, "a token in every step"
    assert max(gaps) < 0.03 + 0.03 + MASK_S  # the decode, as long again, and the turn that passes it
    step_all(engine, heard)
    for key in range(2, 34):
        assert heard.text(key) == "".join(f"<{token}>" for token in expected([key], 6))


@given(
    costs=st.lists(st.sampled_from([0.0, 0.0005, 0.02, 0.3]), min_size=1, max_size=6),
    plain=st.integers(0, 2),
    n=st.integers(1, 2),
    speculates=st.booleans(),
    bound_s=st.sampled_from([0.02, 0.25]),
)
def test_turns_change_no_text(
    costs: list[float], plain: int, n: int, speculates: bool, bound_s: float
) -> None:
    clock = FakeClock()
    engine = engine_over(FakeBackend(clock=clock, n_slots=8), clock, EngineSettings(step_bound_s=bound_s))
    asked = {key: [1 + key % 3, 4, 4, 4] for key in range(len(costs) + plain)}
    heard = run(
        engine,
        *(
            request(
                key,
                prompt,
                max_tokens=30,
                n=n,
                speculates=speculates,
                grammar=CostlySampler(clock, costs[key]) if key < len(costs) else None,
            )
            for key, prompt in asked.items()
        ),
        most_steps=5_000,
    )
    for key, prompt in asked.items():
        for choice in range(n):
            assert heard.text(key, choice) == "".join(f"<{token}>" for token in expected(prompt, 30))


def test_one_that_waits_for_its_turn_is_not_computed_again(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=4)
    engine = engine_over(backend, clock)
    asked = [
        request(key, [key, 9], max_tokens=8, grammar=CostlySampler(clock, 0.3), speculates=False)
        for key in range(1, 5)
    ]
    run(engine, *asked)
    assert sum(len(span.tokens) for batch in backend.batches for span in batch) == 4 * (2 + 7)


def test_cancelling_one_that_waits_for_its_turn_frees_its_slot(clock: FakeClock) -> None:
    engine = engine_over(FakeBackend(clock=clock), clock)
    heard = Heard()
    for key in (1, 2):
        heard.take(engine.submit(request(key, [key, 9], grammar=CostlySampler(clock, 0.3))))
    heard.take(engine.step())
    assert not heard.text(2)
    heard.take(engine.cancel(2))
    step_all(engine, heard)
    assert heard.usage(2).completion_tokens == 0
    assert heard.text(1) == "".join(f"<{token}>" for token in expected([1, 9], 6))


def test_a_grammar_that_fails_takes_its_other_choice_along_out_of_the_queue(clock: FakeClock) -> None:
    class Failing(CostlySampler):
        def accept(self, token: int) -> None:
            raise InvalidRequest(reason="too costly", param="grammar")

    engine = engine_over(FakeBackend(clock=clock), clock)
    heard = run(engine, request(1, [5, 9], n=2, grammar=Failing(clock, 0.3)), request(2, [6, 9]))
    assert [one.id for one in heard.failed] == [1]
    assert heard.text(2) == "".join(f"<{token}>" for token in expected([6, 9], 6))


def test_a_draft_is_verified_only_as_long_as_there_is_time(clock: FakeClock) -> None:
    """Its tokens are judged one by one, each for up to 50 ms."""
    prompt = [3, 4, 5, 6, 7, 8, 9, 10, 11, 3, 4, 5, 6, 7]
    backend = FakeBackend(clock=clock, n_ctx_seq=64)
    engine = engine_over(backend, clock)
    heard = Heard()
    heard.take(engine.submit(request(1, [50], max_tokens=50, speculates=False)))
    heard.take(engine.submit(request(2, prompt, max_tokens=40, grammar=CostlySampler(clock, MASK_S))))
    longest = max(gaps_s(engine, clock, 1, heard))
    assert any(len(span.tokens) > 2 for batch in backend.batches for span in batch if span.start > 14)
    assert longest < 2 * 0.1 + MASK_S
    step_all(engine, heard)
    assert heard.text(2) == "".join(f"<{token}>" for token in expected(prompt, 40))
