from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.hibernation.worth import (
    Held,
    Rate,
    WriteBudget,
    may_save,
    may_save_displaced,
    pays_to_restore,
    value,
)


def held(n_tokens: int, *, covered: int = 0, uses: int = 1, age: int = 0) -> Held:
    return Held(n_tokens=n_tokens, covered=covered, uses=uses, age=age)


@pytest.mark.parametrize(
    ("what", "saved"),
    [
        (held(255), False),
        (held(256), True),
        (held(4000, covered=4000), False),
        (held(4000, covered=3600), False),
        (held(4000, covered=3500), True),
        (held(300, covered=100), False),
    ],
    ids=["short", "long enough", "there", "grown a little", "grown by an eighth", "less than the least new"],
)
def test_what_is_saved_when_the_model_goes(what: Held, saved: bool) -> None:
    assert may_save(what, min_tokens=256) is saved


@pytest.mark.parametrize(
    ("what", "saved"),
    [(held(300), False), (held(300, uses=2), True), (held(1024), True), (held(1024, covered=1024), False)],
    ids=["once and short", "twice", "once and long", "there"],
)
def test_what_is_saved_when_another_prompt_takes_its_place(what: Held, saved: bool) -> None:
    assert may_save_displaced(what, min_tokens=256) is saved


def test_the_most_valuable_is_long_used_often_and_lately() -> None:
    assert value(held(4000)) > value(held(1000))
    assert value(held(1000, uses=5)) > value(held(4000))
    assert value(held(1000)) > value(held(1500, age=1))
    assert value(held(4000, covered=4000)) == 0


def test_restoring_must_cost_less_than_half_of_computing() -> None:
    assert pays_to_restore(restore_s=0.4, compute_s=1.0)
    assert not pays_to_restore(restore_s=0.6, compute_s=1.0)


def test_a_budget_gives_ten_minutes_worth_at_once_and_then_what_has_come_since() -> None:
    budget = WriteBudget(600, now_s=0.0)
    assert not budget.take(6001, now_s=0.0)
    assert budget.take(6000, now_s=0.0)
    assert not budget.take(10, now_s=0.5)
    assert budget.take(10, now_s=1.0)
    assert budget.take(6000, now_s=10_000.0)


@given(asked=st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 60)), max_size=40))
def test_a_budget_is_never_passed(asked: list[tuple[int, float]]) -> None:
    budget, now_s, taken = WriteBudget(600, now_s=0.0), 0.0, 0
    for n_bytes, later_s in asked:
        now_s += later_s
        taken += n_bytes if budget.take(n_bytes, now_s=now_s) else 0
        assert taken <= 6000 + 10 * now_s + 1e-6


def test_a_rate_follows_what_was_measured() -> None:
    rate = Rate(100.0)
    rate.observe(1000, 1.0)
    assert rate.bytes_per_s == 550
    rate.observe(0, 1.0)
    rate.observe(10, 0.0)
    assert rate.expect_s(1100) == 2.0
