from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.runner.pacing import LEAST_PAUSE_S, MOST_PAUSE_S, Pacing
from appliance.wire.messages import SetLimits


def paced(duty: float, *, pause_s: float = 0.0) -> Pacing:
    pacing = Pacing()
    pacing.set_limits(SetLimits(duty=duty, pause_s=pause_s))
    return pacing


def test_without_limits_nothing_is_owed() -> None:
    pacing = Pacing()
    assert not pacing.is_on
    pacing.stepped(10.0)
    assert pacing.due_s() == 0.0


def test_half_of_the_time_is_a_pause_as_long_as_the_step() -> None:
    pacing = paced(0.5)
    pacing.stepped(0.2)
    assert pacing.due_s() == pytest.approx(0.2)


def test_a_tenth_of_the_time_is_nine_times_the_step() -> None:
    pacing = paced(0.1)
    pacing.stepped(0.1)
    assert pacing.due_s() == pytest.approx(0.9)


def test_a_fixed_pause_comes_on_top() -> None:
    pacing = paced(0.5, pause_s=0.3)
    pacing.stepped(0.2)
    assert pacing.due_s() == pytest.approx(0.5)


def test_small_debts_are_collected() -> None:
    pacing = paced(0.9)
    pacing.stepped(0.009)  # owes 1 ms
    assert pacing.due_s() == 0.0
    for _ in range(4):
        pacing.stepped(0.009)
    assert pacing.due_s() == pytest.approx(0.005)


def test_what_was_slept_too_long_is_credit_but_not_for_ever() -> None:
    pacing = paced(0.5)
    pacing.stepped(0.01)
    pacing.paused(5.0)
    pacing.stepped(0.1)
    assert pacing.due_s() == pytest.approx(0.05)


def test_a_very_long_step_owes_a_bounded_pause() -> None:
    pacing = paced(0.1)
    pacing.stepped(600.0)
    assert pacing.due_s() == MOST_PAUSE_S


def test_looser_limits_shorten_the_pause_under_way() -> None:
    pacing = paced(0.1)
    pacing.stepped(1.0)
    pacing.set_limits(SetLimits(duty=0.5))
    assert pacing.due_s() == pytest.approx(1.0)
    pacing.set_limits(SetLimits())
    assert pacing.due_s() == 0.0
    pacing.set_limits(SetLimits(duty=0.5))
    assert pacing.due_s() == 0.0


@pytest.mark.parametrize("duty", [-1.0, 0.0, 1e-300, 7.0])
def test_a_nonsensical_share_stops_nobody_for_good(duty: float) -> None:
    pacing = paced(duty)
    pacing.stepped(0.1)
    assert 0.0 <= pacing.due_s() <= 5.0


@given(st.floats(0.05, 0.95), st.lists(st.floats(0.0005, 0.3), min_size=200, max_size=200))
def test_on_average_the_share_is_kept(duty: float, steps: list[float]) -> None:
    pacing, slept_s = paced(duty), 0.0
    for seconds in steps:
        pacing.stepped(seconds)
        due_s = pacing.due_s()
        slept_s += due_s
        pacing.paused(due_s)
    share = sum(steps) / (sum(steps) + slept_s + LEAST_PAUSE_S)
    assert share <= duty + 1e-9
    assert sum(steps) / (sum(steps) + slept_s) >= duty - 1e-9
