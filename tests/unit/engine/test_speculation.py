from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.cost import StepCost
from appliance.engine.speculation import MAX_DRAFT, Acceptance, draft_length

COSTS = st.builds(StepCost, per_pass_s=st.floats(0.001, 0.1), per_token_s=st.floats(0.0001, 0.05))
CHEAP = StepCost(per_pass_s=0.1, per_token_s=0.001)
"""A pass is dear and a token is not: drafts pay."""


@given(
    one=st.floats(0, 1),
    other=st.floats(0, 1),
    step_tokens=st.integers(1, 32),
    cost=COSTS,
    longest=st.integers(0, 64),
    guess_s=st.floats(0, 0.02),
)
def test_better_guesses_never_make_a_shorter_draft(
    one: float, other: float, step_tokens: int, cost: StepCost, longest: int, guess_s: float
) -> None:
    worse, better = sorted((one, other))
    shorter = draft_length(worse, step_tokens, cost, longest, guess_s=guess_s)
    assert shorter <= draft_length(better, step_tokens, cost, longest, guess_s=guess_s)


@given(acceptance=st.floats(0, 1), step_tokens=st.integers(1, 64), cost=COSTS, longest=st.integers(-3, 64))
def test_a_draft_is_never_longer_than_allowed(
    acceptance: float, step_tokens: int, cost: StepCost, longest: int
) -> None:
    assert 0 <= draft_length(acceptance, step_tokens, cost, longest) <= max(0, longest)


@given(step_tokens=st.integers(1, 64), cost=COSTS, longest=st.integers(1, 32))
def test_guesses_that_are_never_right_make_no_draft(step_tokens: int, cost: StepCost, longest: int) -> None:
    assert draft_length(0.0, step_tokens, cost, longest) == 0


@given(acceptance=st.floats(0, 1), cost=COSTS, longest=st.integers(1, 32), guess_s=st.floats(0, 1))
def test_dearer_guesses_never_make_a_longer_draft(
    acceptance: float, cost: StepCost, longest: int, guess_s: float
) -> None:
    free = draft_length(acceptance, 1, cost, longest)
    assert draft_length(acceptance, 1, cost, longest, guess_s=guess_s) <= free


@given(acceptance=st.floats(0, 0.99), step_tokens=st.integers(1, 32), cost=COSTS)
def test_a_draft_is_expected_to_be_a_tenth_faster(
    acceptance: float, step_tokens: int, cost: StepCost
) -> None:
    length = draft_length(acceptance, step_tokens, cost, MAX_DRAFT)
    if length:
        gained = sum(acceptance**place for place in range(1, length + 1))
        passes = 1 if step_tokens == 1 else 2
        rate = (step_tokens + gained) / cost.predict_s(passes=passes, tokens=step_tokens + length)
        assert rate >= 1.1 * step_tokens / cost.predict_s(passes=1, tokens=step_tokens) - 1e-9


def test_sure_guesses_over_dear_passes_use_the_longest_draft() -> None:
    assert draft_length(1.0, 1, CHEAP, 32) == 32


@given(judged=st.lists(st.tuples(st.integers(1, 32), st.integers(0, 32)), max_size=60))
def test_an_acceptance_rate_is_a_probability(judged: list[tuple[int, int]]) -> None:
    acceptance = Acceptance()
    for drafted, accepted in judged:
        acceptance.judge(drafted, min(drafted, accepted))
    assert 0 <= acceptance.rate <= 1


def test_the_acceptance_rate_follows_what_was_seen() -> None:
    acceptance = Acceptance()
    for _ in range(40):
        acceptance.judge(4, 4)
    assert acceptance.rate > 0.95
    for _ in range(60):
        acceptance.judge(4, 0)
    assert acceptance.rate < 0.35
