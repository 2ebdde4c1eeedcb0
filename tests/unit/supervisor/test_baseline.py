"""A model compared with itself: what is slow, for how long, and what is not meant."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.supervisor.baseline import Baseline, Change, Observation

HEALTHY = st.floats(min_value=16.0, max_value=25.0)
"""Within a quarter of 20: never half of what any median of such is."""


def seen(rate: float, *, batch: float = 1, depth: int = 100, is_paced: bool = False) -> Observation:
    return Observation(batch=batch, depth_tokens=depth, steps_per_s=rate, is_paced=is_paced)


def learned(*, batch: float = 1, depth: int = 100, rate: float = 20.0) -> Baseline:
    baseline = Baseline()
    for _ in range(5):
        assert baseline.observe(seen(rate, batch=batch, depth=depth)) is None
    return baseline


def changes(baseline: Baseline, rates: list[float]) -> list[Change | None]:
    return [baseline.observe(seen(rate)) for rate in rates]


def test_three_slow_requests_in_a_row_are_one_event_with_the_figures() -> None:
    baseline = learned()
    assert changes(baseline, [9.0, 9.0, 9.0, 9.0]) == [None, None, Change.DEGRADED, None]
    assert baseline.is_degraded
    assert baseline.reason == "decodes 9.0 tokens/s per sequence, 45% of its usual 20.0"


def test_two_slow_requests_are_none() -> None:
    assert changes(learned(), [9.0, 9.0, 19.0, 9.0, 9.0]) == [None] * 5


def test_it_recovers_after_three_requests_that_are_well_again() -> None:
    baseline = learned()
    changes(baseline, [9.0] * 3)
    assert changes(baseline, [18.0, 18.0]) == [None, None]
    assert baseline.is_degraded
    assert changes(baseline, [18.0]) == [Change.RECOVERED]
    assert not baseline.is_degraded
    assert baseline.reason is None


def test_at_the_edge_it_does_not_flap() -> None:
    baseline = learned()
    changes(baseline, [9.0] * 3)
    assert changes(baseline, [10.5, 9.5] * 20) == [None] * 40
    assert baseline.is_degraded


def test_what_heat_slows_down_is_not_judged_and_not_learned_from() -> None:
    baseline = learned()
    for _ in range(50):
        assert baseline.observe(seen(1.0, is_paced=True)) is None
    assert baseline.usual(seen(1.0)) == 20.0
    fresh = Baseline()
    for _ in range(50):
        fresh.observe(seen(1.0, is_paced=True))
    assert fresh.usual(seen(1.0)) is None


def test_more_sequences_and_deeper_contexts_are_compared_with_their_own() -> None:
    baseline = learned()
    assert [baseline.observe(seen(4.0, batch=16)) for _ in range(10)] == [None] * 10
    assert [baseline.observe(seen(4.0, depth=8000)) for _ in range(10)] == [None] * 10
    assert (baseline.usual(seen(1.0)), baseline.usual(seen(1.0, batch=16))) == (20.0, 4.0)


def test_a_slow_decline_does_not_become_usual() -> None:
    """Each request is 2 % slower than the one before it: half of the first is reached, and told."""
    baseline, rate = learned(), 20.0
    told = []
    for _ in range(60):
        rate *= 0.98
        told.append(baseline.observe(seen(rate)))
    assert Change.DEGRADED in told


def test_nonsense_is_ignored() -> None:
    baseline = learned()
    assert changes(baseline, [0.0, -1.0, float("nan"), 0.0]) == [None] * 4
    assert baseline.usual(seen(1.0)) == 20.0


@settings(max_examples=500, deadline=None)
@given(
    healthy=st.lists(HEALTHY, min_size=5, max_size=30),
    slow=st.lists(st.floats(min_value=0.1, max_value=0.39), min_size=3, max_size=10),
    again=st.lists(HEALTHY, min_size=3, max_size=10),
)
def test_random_traces_have_their_two_events_and_no_other(
    healthy: list[float], slow: list[float], again: list[float]
) -> None:
    """Healthy requests, then some at less than half of the slowest healthy one, then healthy ones."""
    baseline = Baseline()
    assert changes(baseline, healthy) == [None] * len(healthy)
    told = changes(baseline, [min(healthy) * share for share in slow])
    assert told == [None, None, Change.DEGRADED] + [None] * (len(slow) - 3)
    told = changes(baseline, again)
    assert told == [None, None, Change.RECOVERED] + [None] * (len(again) - 3)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(HEALTHY, st.floats(min_value=1, max_value=64), st.integers(1, 30_000), st.booleans()),
        max_size=60,
    )
)
def test_no_healthy_trace_raises_an_event(trace: list[tuple[float, float, int, bool]]) -> None:
    """Whatever batches and depths come in whatever order, and however slow the paced ones are."""
    baseline = Baseline()
    for rate, batch, depth, is_paced in trace:
        told = seen(rate / 20 if is_paced else rate, batch=batch, depth=depth, is_paced=is_paced)
        assert baseline.observe(told) is None
