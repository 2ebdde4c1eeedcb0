"""What a key may still do: exact, per key, and no request that ends leaves anything behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access.gcra import MINUTE_NS, SECOND_NS
from appliance.access.grants import Bounds, Grant
from appliance.access.quota_rules import DAY_NS, Bound, bounds_of
from appliance.access.quotas import Admission, Quotas
from appliance.errors import PromptExceedsQuota, RateLimited


class Clock:
    """Nanoseconds that only pass when told."""

    def __init__(self, now_ns: int = DAY_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def of(clock: Clock, **bounds: Any) -> tuple[Quotas, Grant]:
    return Quotas(clock), Grant(key_id="k", bounds=Bounds(**bounds))


@contextmanager
def admitted(quotas: Quotas, grant: Grant) -> Iterator[Admission]:
    admission = quotas.admit(grant)
    try:
        yield admission
    finally:
        admission.close()


def after(clock: Clock, refusal: RateLimited) -> None:
    clock.now_ns += round(refusal.retry_after_s * 1e9)


def test_requests_are_counted_as_they_come_and_told_when_the_next_fits() -> None:
    clock = Clock()
    quotas, grant = of(clock, requests_per_min=3)
    for _ in range(3):
        quotas.admit(grant).close()
    with pytest.raises(RateLimited, match="3 requests per minute") as refused:
        quotas.admit(grant)
    assert refused.value.fields == {
        "bound": "requests_per_min", "limit": 3, "used": 3, "retry_after_s": 20.0,
    }  # fmt: skip
    clock.now_ns += 20 * SECOND_NS - 1
    with pytest.raises(RateLimited):
        quotas.admit(grant)
    clock.now_ns += 1
    quotas.admit(grant).close()


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    quotas, grant = of(clock, requests_per_min=1, concurrency=1)
    first = quotas.admit(grant)
    for _ in range(10):
        with pytest.raises(RateLimited):
            quotas.admit(grant)
    first.close()
    clock.now_ns += MINUTE_NS
    quotas.admit(grant).close()


def test_no_more_at_once_than_the_key_may() -> None:
    quotas, grant = of(Clock(), concurrency=2)
    first, second = quotas.admit(grant), quotas.admit(grant)
    with pytest.raises(RateLimited) as refused:
        quotas.admit(grant)
    assert refused.value.fields["bound"] == Bound.CONCURRENCY
    first.close()
    first.close()
    third = quotas.admit(grant)
    with pytest.raises(RateLimited):
        quotas.admit(grant)
    second.close()
    third.close()


def test_a_prompt_that_is_more_than_what_is_left_is_refused_and_costs_nothing() -> None:
    clock = Clock()
    quotas, grant = of(clock, tokens_per_min=100)
    first = quotas.admit(grant)
    first.hold(60)
    second = quotas.admit(grant)
    with pytest.raises(RateLimited) as refused:
        second.hold(41)
    assert refused.value.fields["used"] == 60
    second.close()
    first.close()
    third = quotas.admit(grant)
    third.hold(100)
    third.close()


def test_a_prompt_that_can_never_fit_is_told_so() -> None:
    quotas, grant = of(Clock(), tokens_per_min=100, tokens_per_day=1000)
    with admitted(quotas, grant) as admission, pytest.raises(PromptExceedsQuota) as refused:
        admission.hold(101)
    assert refused.value.fields == {"bound": "tokens_per_min", "limit": 100, "prompt_tokens": 101}


def test_a_running_answer_is_not_cut_and_delays_the_next() -> None:
    clock = Clock()
    quotas, grant = of(clock, tokens_per_min=60)
    with admitted(quotas, grant) as admission:
        admission.hold(50)
        admission.prompt(50)
        for _ in range(70):
            admission.output(1)
    with pytest.raises(RateLimited) as refused:
        quotas.admit(grant)
    assert refused.value.fields["used"] == 120
    assert refused.value.retry_after_s == 61.0


def test_who_is_cancelled_pays_for_what_was_computed() -> None:
    clock = Clock()
    quotas, grant = of(clock, tokens_per_min=100, tokens_per_day=100)
    with admitted(quotas, grant) as admission:
        admission.hold(90)
        admission.prompt(30)
    assert [one.remaining for one in quotas.allowances(grant)] == [70, 70]
    admission.output(5)
    assert [one.remaining for one in quotas.allowances(grant)] == [70, 70]


def test_a_day_is_24_hours_from_its_first_token() -> None:
    clock = Clock()
    quotas, grant = of(clock, tokens_per_day=10)
    clock.now_ns += DAY_NS // 3
    began_ns = clock.now_ns
    with admitted(quotas, grant) as admission:
        admission.hold(10)
        admission.prompt(10)
    clock.now_ns = began_ns + DAY_NS - 1
    with pytest.raises(RateLimited):
        quotas.admit(grant)
    clock.now_ns += 1
    quotas.admit(grant).close()
    assert quotas.allowances(grant)[0].remaining == 10


def test_of_several_bounds_the_one_that_holds_it_up_longest_is_told() -> None:
    clock = Clock()
    quotas, grant = of(clock, requests_per_min=1, tokens_per_day=5, tokens_per_min=5)
    with admitted(quotas, grant) as admission:
        admission.output(6)
    with pytest.raises(RateLimited) as refused:
        quotas.admit(grant)
    assert refused.value.fields["bound"] == Bound.DAY
    after(clock, refused.value)
    quotas.admit(grant).close()


def test_keys_do_not_pay_for_each_other() -> None:
    quotas = Quotas(Clock(), defaults=Bounds(requests_per_min=1))
    quotas.admit(Grant(key_id="a")).close()
    quotas.admit(Grant(key_id="b")).close()
    with pytest.raises(RateLimited):
        quotas.admit(Grant(key_id="a"))


def test_a_key_has_the_configured_bounds_where_it_has_none_of_its_own() -> None:
    defaults = Bounds(requests_per_min=1, tokens_per_day=9, max_context=5)
    own = Bounds(requests_per_min=7, background_only=True)
    assert bounds_of(own, defaults) == Bounds(requests_per_min=7, tokens_per_day=9, background_only=True)


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 80), st.integers(0, 80)), max_size=25),
    st.integers(20, 100),
)
def test_after_the_time_that_is_told_the_same_request_is_taken(
    steps: list[tuple[int, int, int]], limit: int
) -> None:
    clock = Clock()
    quotas, grant = of(clock, tokens_per_min=limit, requests_per_min=5, tokens_per_day=limit * 4)
    for passed_s, prompt, output in steps:
        clock.now_ns += passed_s * SECOND_NS
        for _ in range(3):  # admission, prompt, and both once more at most
            admission = None
            try:
                admission = quotas.admit(grant)
                admission.hold(prompt)
                admission.prompt(prompt)
                admission.output(output)
                break
            except RateLimited as refused:
                clock.now_ns += math.ceil(refused.retry_after_s * 1e9)
            except PromptExceedsQuota:
                assert prompt > limit
                break
            finally:
                if admission is not None:
                    admission.close()
        else:
            pytest.fail("refused again after the time it was told")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_what_is_charged_is_what_was_computed_and_nothing_is_held_at_the_end(
    requests: list[tuple[int, int, int]],
) -> None:
    limit = 10**6
    clock = Clock()
    quotas, grant = of(clock, tokens_per_day=limit, tokens_per_min=limit)
    open_ones = []
    for held, computed, output in requests:
        admission = quotas.admit(grant)
        open_ones.append(admission)
        admission.hold(held)
        admission.prompt(min(held, computed))
        admission.output(output)
    for admission in open_ones:
        admission.close()
    used = sum(min(held, computed) + output for held, computed, output in requests)
    assert [limit - one.remaining for one in quotas.allowances(grant)] == [used, used]


def test_what_is_kept_is_what_changed_and_a_key_that_owes_nothing_is_forgotten() -> None:
    clock = Clock()
    quotas, grant = of(clock, requests_per_min=1)
    assert quotas.changed() == {}
    quotas.admit(grant).close()
    kept = quotas.changed()
    assert set(kept) == {"k"}
    assert quotas.changed() == {}
    counts = kept["k"]
    assert counts is not None
    again = Quotas(clock, kept={"k": counts})
    with pytest.raises(RateLimited):
        again.admit(grant)
    clock.now_ns += 2 * MINUTE_NS
    assert again.changed(whole=True) == {"k": None}
    assert again.changed(whole=True) == {}


def test_refusals_are_counted_by_bound() -> None:
    quotas, grant = of(Clock(), concurrency=1)
    with admitted(quotas, grant), pytest.raises(RateLimited):
        quotas.admit(grant)
    assert quotas.refused[Bound.CONCURRENCY] == 1
