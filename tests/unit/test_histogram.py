"""Counting by ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.token_gaps import TokenGaps
from appliance.histogram import SECONDS, TOKEN_SECONDS, Histogram


def test_a_bound_includes_its_value_and_the_last_range_has_no_end() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 104.0


def test_bounds_ascend() -> None:
    for bounds in (SECONDS, TOKEN_SECONDS):
        assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.floats(0, 1000), max_size=50), st.lists(st.floats(0, 1000), max_size=50))
def test_two_that_are_added_count_as_one_that_saw_all(some: list[float], others: list[float]) -> None:
    left, right, both = Histogram(SECONDS), Histogram(SECONDS), Histogram(SECONDS)
    for value in some:
        left.observe(value)
        both.observe(value)
    for value in others:
        right.observe(value)
        both.observe(value)
    left.add(right)
    assert left.counts == both.counts
    assert abs(left.sum - both.sum) < 1e-6


def test_gaps_are_those_of_each_choice_and_a_draft_shares_its_own() -> None:
    gaps = TokenGaps()
    gaps.mark(0, 1, 1.0)
    gaps.mark(1, 1, 1.01)
    gaps.mark(0, 1, 1.25)  # 0.25 s after the last of its choice
    gaps.mark(1, 4, 1.41)  # 0.4 s for four tokens
    gaps.mark(0, 0, 9.0)  # the end of a choice is no token
    told = {bound: count for bound, count in zip(TOKEN_SECONDS, gaps.histogram.counts, strict=False) if count}
    assert told == {0.3: 1, 0.1: 4}
    assert abs(gaps.histogram.sum - 0.65) < 1e-9
