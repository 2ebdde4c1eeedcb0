"""The laws of the cell rate algorithm: never more than the limit and what time earns, and no drift."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.access import gcra
from appliance.access.gcra import MINUTE_NS, Arrival, Rate

RATES = st.builds(
    Rate, limit=st.integers(1, 10**7), period_ns=st.sampled_from([MINUTE_NS, 1440 * MINUTE_NS, 7])
)
STEPS = st.lists(st.tuples(st.integers(0, 3 * MINUTE_NS), st.integers(0, 2000)), max_size=40)
START_NS = 1_790_000_000 * gcra.SECOND_NS


@given(RATES, STEPS)
def test_in_no_time_is_more_taken_than_the_limit_and_what_that_time_earns(
    rate: Rate, steps: list[tuple[int, int]]
) -> None:
    now_ns, arrival, taken = START_NS, Arrival(), []
    for passed_ns, cost in steps:
        now_ns += passed_ns
        if cost <= rate.limit and gcra.wait_ns(rate, arrival, now_ns, cost) == 0:
            arrival = gcra.taken(rate, arrival, now_ns, cost)
            taken.append((now_ns, cost))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            units = sum(cost for _, cost in taken[first : last + 1])
            passed_ns = taken[last][0] - taken[first][0]
            assert units * rate.period_ns <= (rate.period_ns + passed_ns) * rate.limit


@given(RATES, st.lists(st.integers(1, 2000), max_size=30), st.integers(1, 3000))
def test_after_the_wait_it_fits_and_a_nanosecond_before_it_does_not(
    rate: Rate, before: list[int], cost: int
) -> None:
    arrival = Arrival()
    for units in before:
        arrival = gcra.taken(rate, arrival, START_NS, units)
    cost = min(cost, rate.limit)
    wait_ns = gcra.wait_ns(rate, arrival, START_NS, cost)
    assert gcra.wait_ns(rate, arrival, START_NS + wait_ns, cost) == 0
    if wait_ns:
        assert gcra.wait_ns(rate, arrival, START_NS + wait_ns - 1, cost) == 1


@given(RATES, st.integers(1, 500), st.integers(1, 7))
def test_many_pieces_cost_as_much_as_the_whole(rate: Rate, pieces: int, cost: int) -> None:
    one_by_one = Arrival()
    for _ in range(pieces):
        one_by_one = gcra.taken(rate, one_by_one, START_NS, cost)
    assert one_by_one == gcra.taken(rate, Arrival(), START_NS, pieces * cost)


@given(st.integers(1, 9999))
def test_who_takes_at_the_rate_is_never_refused_and_never_gains(limit: int) -> None:
    rate = Rate(limit)
    arrival = gcra.taken(rate, Arrival(), START_NS, limit)
    for number in range(1, 300):
        now_ns = START_NS - (-number * MINUTE_NS // limit)
        assert gcra.wait_ns(rate, arrival, now_ns, 1) == 0
        arrival = gcra.taken(rate, arrival, now_ns, 1)
        assert gcra.available(rate, arrival, now_ns) == 0


def test_what_is_charged_above_the_limit_is_waited_off() -> None:
    rate = Rate(60)
    arrival = gcra.taken(rate, Arrival(), START_NS, 90)
    assert gcra.available(rate, arrival, START_NS) == -30
    assert gcra.wait_ns(rate, arrival, START_NS, 1) == 31 * gcra.SECOND_NS
    assert gcra.reset_ns(rate, arrival, START_NS) == 90 * gcra.SECOND_NS


def test_held_units_count_as_taken() -> None:
    rate = Rate(60)
    assert gcra.wait_ns(rate, Arrival(), START_NS, 10, held=50) == 0
    assert gcra.wait_ns(rate, Arrival(), START_NS, 11, held=50) == gcra.SECOND_NS
