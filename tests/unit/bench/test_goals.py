from __future__ import annotations

import pytest

from tests.bench.goals import Goal, Row
from tests.bench.load import percentile


def _row(goal: Goal, ours: list[float], peer: list[float]) -> Row:
    return Row(title="work", goal=goal, ours=ours, peer=peer, second_peer=[])


def test_a_ratio_is_that_of_the_medians() -> None:
    row = _row(Goal("a1", "tok/s", "tok/s", at_least=1.2), [10.0, 12.0, 90.0], [10.0, 8.0, 1.0])
    assert row.ratio == pytest.approx(1.5)
    assert row.reached


def test_an_upper_bound_is_missed_from_above() -> None:
    goal = Goal("a2", "TTFT", "s", at_most=0.6)
    assert not _row(goal, [0.7], [1.0]).reached
    assert _row(goal, [0.6], [1.0]).reached


def test_an_absolute_goal_needs_no_peer() -> None:
    row = _row(Goal("h", "CPU", "ms", at_most=0.15, absolute=True), [0.1], [])
    assert row.ratio is None
    assert row.reached


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (99, 4.0), (100, 4.0), (1, 1.0)])
def test_a_percentile_is_a_measured_value(percent: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == value
