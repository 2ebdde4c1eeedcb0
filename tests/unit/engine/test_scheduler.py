"""Laws of the schedule over random sequences, costs and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.engine.cost import StepCost
from appliance.engine.scheduler import SHORT_PROMPT, Pending, StepLimits, schedule

COSTS = st.builds(
    StepCost, per_pass_s=st.floats(0.001, 0.1, allow_nan=False), per_token_s=st.floats(0.0005, 0.05)
)
LIMITS = st.builds(
    StepLimits,
    bound_s=st.floats(0.05, 1.0),
    n_batch=st.integers(32, 512),
    token_budget=st.none() | st.integers(1, 64),
)


@st.composite
def sequences(draw: st.DrawFn, *, least: int = 1, most: int = 12) -> list[Pending]:
    drawn: list[Pending] = []
    for key in range(draw(st.integers(least, most))):
        whole = draw(st.integers(1, 600))
        remaining = draw(st.sampled_from([0, whole, max(1, whole // 2)]))
        draft = draw(st.integers(0, 16)) if remaining == 0 else 0
        drawn.append(
            Pending(key=key, arrived=key + 1, remaining_prompt=remaining, whole_prompt=whole, draft=draft)
        )
    return drawn


def decoder(key: int, *, draft: int = 0, last_step: int = 0) -> Pending:
    return Pending(key=key, arrived=key, remaining_prompt=0, whole_prompt=9, draft=draft, last_step=last_step)


def prefill(key: int, remaining: int, *, whole: int | None = None) -> Pending:
    return Pending(key=key, arrived=key, remaining_prompt=remaining, whole_prompt=whole or remaining)


@given(running=sequences(), cost=COSTS, limits=LIMITS)
def test_a_step_never_passes_its_budget(running: list[Pending], cost: StepCost, limits: StepLimits) -> None:
    plan = schedule(running, cost, limits)
    assert sum(plan.values()) <= min(limits.n_batch, limits.token_budget or limits.n_batch)


@given(running=sequences(), cost=COSTS, limits=LIMITS)
def test_a_step_is_never_empty_while_something_runs(
    running: list[Pending], cost: StepCost, limits: StepLimits
) -> None:
    assert sum(schedule(running, cost, limits).values()) >= 1


@given(running=sequences(), cost=COSTS, limits=LIMITS)
def test_no_sequence_gets_more_than_it_can_use(
    running: list[Pending], cost: StepCost, limits: StepLimits
) -> None:
    by_key = {sequence.key: sequence for sequence in running}
    for key, tokens in schedule(running, cost, limits).items():
        most = by_key[key].remaining_prompt or 1 + by_key[key].draft
        assert 1 <= tokens <= most


@given(running=sequences(), cost=COSTS, limits=LIMITS)
def test_every_decoding_sequence_gets_its_token_in_every_step(
    running: list[Pending], cost: StepCost, limits: StepLimits
) -> None:
    plan = schedule(running, cost, replace(limits, token_budget=None))
    assert all(plan.get(sequence.key) for sequence in running if sequence.remaining_prompt == 0)


@given(running=sequences(most=6), cost=COSTS, limits=LIMITS)
def test_every_prefill_ends_beside_any_number_of_streams(
    running: list[Pending], cost: StepCost, limits: StepLimits
) -> None:
    steps = 0
    while any(sequence.remaining_prompt for sequence in running):
        steps += 1
        assert steps <= 6 * 600 * 12, "a prefill starves"
        plan = schedule(running, cost, limits)
        running = [_after(sequence, plan.get(sequence.key, 0), steps) for sequence in running]


@given(decoding=st.integers(1, 12), prefilling=st.integers(0, 3), budget=st.integers(1, 20), cost=COSTS)
def test_under_the_tightest_budget_everyone_has_a_turn(
    decoding: int, prefilling: int, budget: int, cost: StepCost
) -> None:
    running = [decoder(key) for key in range(decoding)]
    running += [prefill(key, 10_000) for key in range(decoding, decoding + prefilling)]
    limits = StepLimits(bound_s=0.25, n_batch=64, token_budget=budget)
    served: set[int] = set()
    for step in range(1, len(running) + 1):
        plan = schedule(running, cost, limits)
        served |= {key for key, tokens in plan.items() if tokens}
        running = [_after(sequence, plan.get(sequence.key, 0), step) for sequence in running]
    decoders = set(range(decoding))
    assert decoders <= served
    assert not prefilling or served - decoders, "no prefill moved"


def _after(sequence: Pending, tokens: int, step: int) -> Pending:
    if not tokens:
        return sequence
    return replace(
        sequence, remaining_prompt=max(0, sequence.remaining_prompt - tokens), last_step=step, draft=0
    )


@given(decoding=st.integers(1, 32), remaining=st.integers(SHORT_PROMPT + 1, 8000), cost=COSTS)
def test_a_long_prefill_at_most_doubles_the_predicted_step(
    decoding: int, remaining: int, cost: StepCost
) -> None:
    limits = StepLimits(bound_s=0.25, n_batch=512)
    at_once_s = cost.predict_s(passes=2, tokens=decoding + remaining)
    assume(at_once_s > limits.bound_s)
    plan = schedule([*(decoder(key) for key in range(decoding)), prefill(99, remaining)], cost, limits)
    alone_s = cost.predict_s(passes=1, tokens=decoding)
    assert cost.predict_s(passes=2, tokens=sum(plan.values())) <= 2 * alone_s + 1e-9


@given(remaining=st.integers(1, 4000), cost=COSTS)
def test_a_prefill_alone_fills_the_time_bound_and_no_more(remaining: int, cost: StepCost) -> None:
    limits = StepLimits(bound_s=0.25, n_batch=4096)
    tokens = schedule([prefill(0, remaining)], cost, limits)[0]
    least_s = cost.predict_s(passes=1, tokens=8)
    assert cost.predict_s(passes=1, tokens=tokens) <= max(limits.bound_s, least_s) + 1e-9


def test_short_prompts_start_at_once_beside_streams() -> None:
    cost = StepCost(per_pass_s=0.005, per_token_s=0.001)
    plan = schedule([decoder(0), prefill(1, 20), prefill(2, 30)], cost, StepLimits(bound_s=0.25, n_batch=512))
    assert plan == {0: 1, 1: 20, 2: 30}


def test_a_burst_of_short_prompts_beside_a_stream_fills_a_bounded_step() -> None:
    cost = StepCost(per_pass_s=0.005, per_token_s=0.004)
    limits = StepLimits(bound_s=0.25, n_batch=512)
    plan = schedule([decoder(0), *(prefill(key, 30) for key in range(1, 40))], cost, limits)
    assert 50 <= sum(plan.values()) <= 61


def test_the_tail_of_a_long_prompt_is_no_short_prompt() -> None:
    cost = StepCost(per_pass_s=0.005, per_token_s=0.001)
    limits = StepLimits(bound_s=0.25, n_batch=512)
    plan = schedule([decoder(0), prefill(1, 40, whole=4000)], cost, limits)
    assert plan[1] < 40


def test_a_short_prompt_shares_the_step_with_the_long_one_before_it() -> None:
    cost = StepCost(per_pass_s=0.01, per_token_s=0.001)
    plan = schedule([prefill(1, 8000), prefill(2, 40)], cost, StepLimits(bound_s=0.21, n_batch=512))
    assert plan[2] == 40
    assert plan[1] >= 100


@pytest.mark.parametrize("budget", [0, 1])
def test_a_budget_below_one_token_is_one_token(budget: int) -> None:
    limits = StepLimits(bound_s=0.25, n_batch=512, token_budget=budget)
    assert schedule([decoder(0), decoder(1)], StepCost(), limits) == {0: 1}


def test_drafts_leave_room_for_a_prefill() -> None:
    limits = StepLimits(bound_s=0.25, n_batch=512, token_budget=10)
    plan = schedule([decoder(0, draft=32), prefill(1, 500)], StepCost(), limits)
    assert plan == {0: 9, 1: 1}


def test_short_prompts_beside_a_crowd_have_every_second_step_to_themselves() -> None:
    cost = StepCost(per_pass_s=0.01, per_token_s=0.005)
    crowd = [decoder(key, last_step=7) for key in range(40)]
    waiting = [prefill(key, 20) for key in range(40, 60)]
    alone = schedule([*crowd, *waiting], cost, StepLimits(bound_s=0.25, n_batch=512, step=8))
    assert set(alone) <= set(range(40, 60))
    assert 40 <= sum(alone.values()) <= 48
    together = schedule([*crowd, *waiting], cost, StepLimits(bound_s=0.25, n_batch=512, step=9))
    assert set(range(40)) <= set(together)
