from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.cost import StepCost

SECONDS = st.floats(1e-4, 0.5)


@given(per_pass_s=st.floats(1e-3, 0.1), per_token_s=st.floats(1e-4, 0.1))
def test_varied_steps_teach_both_costs(per_pass_s: float, per_token_s: float) -> None:
    cost = StepCost()
    for step in range(400):
        passes, tokens = 1 + step % 3, 1 + (step * 7) % 40
        cost.observe(passes=passes, tokens=tokens, seconds=per_pass_s * passes + per_token_s * tokens)
    predicted = cost.predict_s(passes=2, tokens=20)
    assert predicted == pytest.approx(2 * per_pass_s + 20 * per_token_s, rel=0.05)


@given(passes=st.integers(1, 4), tokens=st.integers(1, 64), seconds=SECONDS)
def test_steps_that_are_all_alike_teach_what_such_a_step_costs(
    passes: int, tokens: int, seconds: float
) -> None:
    cost = StepCost()
    for _ in range(500):
        cost.observe(passes=passes, tokens=tokens, seconds=seconds)
    assert cost.predict_s(passes=passes, tokens=tokens) == pytest.approx(seconds, rel=0.1)


@given(
    steps=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 512), st.floats(0, 10)), max_size=60),
    passes=st.integers(1, 4),
    tokens=st.integers(1, 512),
)
def test_a_prediction_is_positive_whatever_was_seen(
    steps: list[tuple[int, int, float]], passes: int, tokens: int
) -> None:
    cost = StepCost()
    for seen_passes, seen_tokens, seconds in steps:
        cost.observe(passes=seen_passes, tokens=seen_tokens, seconds=seconds)
    assert cost.per_pass_s > 0 and cost.per_token_s > 0
    assert 0 < cost.predict_s(passes=passes, tokens=tokens) < float("inf")
    assert cost.tokens_within(0.25) >= 0


@given(seconds=st.floats(0, 5), passes=st.integers(1, 3))
def test_the_tokens_that_fit_do_fit(seconds: float, passes: int) -> None:
    cost = StepCost(per_pass_s=0.03, per_token_s=0.007)
    fitting = cost.tokens_within(seconds, passes=passes)
    if fitting:
        assert cost.predict_s(passes=passes, tokens=fitting) <= seconds + 1e-9
    assert cost.predict_s(passes=passes, tokens=fitting + 1) > seconds - 1e-9


def test_a_step_that_was_put_aside_hardly_moves_the_prediction() -> None:
    cost = StepCost()
    for step in range(200):
        cost.observe(passes=1, tokens=1 + step % 8, seconds=0.01 + 0.001 * (1 + step % 8))
    before_s = cost.predict_s(passes=1, tokens=4)
    cost.observe(passes=1, tokens=4, seconds=5.0)
    assert cost.predict_s(passes=1, tokens=4) < 1.2 * before_s


def test_a_lasting_slowdown_is_followed() -> None:
    cost = StepCost(per_pass_s=0.01, per_token_s=0.001)
    for step in range(150):
        tokens = 1 + step % 8
        cost.observe(passes=1, tokens=tokens, seconds=0.04 + 0.004 * tokens)
    assert cost.predict_s(passes=1, tokens=4) == pytest.approx(0.056, rel=0.1)
