"""Laws of the governor, over histories that nobody thought of."""

from __future__ import annotations

import copy
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hardware.rails import Rail
from appliance.hardware.thermal_zones import CoolingDevice
from appliance.thermal.governor import Governor
from appliance.thermal.ladder import HOUR_S, MOST_CHANGES, Ladder
from appliance.thermal.values import Cooling, HeatPolicy, Look
from tests.fakes.thermal_board import NO_POWER, ORIN, look_at, zone_of

TEMPERATURES = st.one_of(st.floats(20.0, 120.0), st.floats(84.0, 100.0))
GAPS = st.sampled_from([0.25, 1.0, 2.0])
PATHS = st.lists(st.tuples(GAPS, TEMPERATURES), min_size=1, max_size=40)


def led(path: list[tuple[float, float]], policy: HeatPolicy | None = None) -> tuple[Governor, float]:
    """A governor that saw this path, and when it ends."""
    governor, at_s = Governor(policy or HeatPolicy()), 0.0
    for gap_s, celsius in path:
        at_s += gap_s
        governor.update(look_at(at_s, zone_of(ORIN, celsius)))
    return governor, at_s


def looks(draw: st.DrawFn) -> list[Look]:
    """Anything at all: zones that come and go, flags, watts."""
    found, at_s = [], 0.0
    for _ in range(draw(st.integers(1, 60))):
        at_s += draw(st.sampled_from([0.25, 1.0, 5.0, 31.0, 400.0]))
        celsius = draw(st.one_of(st.none(), st.floats(-60, 160), TEMPERATURES))
        flags = st.sampled_from([None, False, True])
        rail = Rail(
            name="VDD_IN",
            power_watts=draw(st.floats(0, 60)),
            volts=5.0,
            amperes=1.0,
            is_over_current=draw(flags),
        )
        power = replace(
            NO_POWER,
            rails=(rail,),
            input_watts=rail.power_watts,
            under_voltage=draw(flags),
            is_throttled=draw(flags),
            frequency_capped=draw(flags),
            soft_limit=draw(flags),
        )
        alert = CoolingDevice(kind="gpu-throttle-alert", state=draw(st.integers(0, 1)), max_state=1)
        found.append(look_at(at_s, zone_of(ORIN, celsius), power=power, devices=(alert,), busy=draw(flags)))
    return found


LOOKS = st.composite(looks)()


def strictness(cooling: Cooling) -> tuple[float, ...]:
    """Each figure is larger the stricter."""
    limits = cooling.limits
    return (
        cooling.state.level,
        -limits.duty,
        -(limits.token_budget or 1 << 20),
        limits.hold_background,
        limits.prefer_sibling,
        not limits.admit,
    )


@given(PATHS, GAPS, TEMPERATURES, st.floats(0.0, 30.0))
def test_hotter_never_gives_looser_limits(
    path: list[tuple[float, float]], gap_s: float, celsius: float, more: float
) -> None:
    governor, at_s = led(path, HeatPolicy(prefers_sibling=True))
    other = copy.deepcopy(governor)
    cool = governor.update(look_at(at_s + gap_s, zone_of(ORIN, celsius)))
    hot = other.update(look_at(at_s + gap_s, zone_of(ORIN, celsius + more)))
    assert all(there >= here for here, there in zip(strictness(cool), strictness(hot), strict=True))


@given(LOOKS)
def test_limits_stay_within_their_bounds_and_measures_in_their_order(path: list[Look]) -> None:
    governor = Governor(HeatPolicy(power_budget_watts=20.0, prefers_sibling=True))
    for look in path:
        cooling = governor.update(look)
        limits = cooling.limits
        assert 0.1 <= limits.duty <= 1.0
        assert limits.token_budget is None or 32 <= limits.token_budget <= 256
        assert 0.0 <= limits.retry_after_s <= 300.0
        if limits.duty < 1.0:
            assert limits.token_budget is not None
        if limits.hold_background:
            assert limits.token_budget is not None
            assert limits.token_budget <= 64
        assert limits.prefer_sibling == limits.hold_background
        if not limits.admit:
            assert limits.hold_background
            assert limits.retry_after_s >= 5.0
        if cooling.state == "normal":
            assert (limits.duty, limits.token_budget, cooling.cause) == (1.0, None, "ok")
        if limits.duty < 1.0 or limits.hold_background:
            assert cooling.cause != "ok"


@given(LOOKS)
def test_no_history_whatsoever_makes_it_flap(path: list[Look]) -> None:
    governor, changed_at_s, changes = Governor(HeatPolicy()), list[float](), 0
    for look in path:
        cooling = governor.update(look)
        changed_at_s += [look.at_s] * (cooling.changes - changes)
        changes = cooling.changes
        assert sum(look.at_s - at_s < HOUR_S for at_s in changed_at_s) <= MOST_CHANGES


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([1.0, 31.0, 61.0, 1300.0]), st.integers(0, 3)), max_size=80))
def test_the_ladder_changes_at_most_six_times_an_hour(wishes: list[tuple[float, int]]) -> None:
    ladder, at_s, changed_at_s = Ladder(), 0.0, list[float]()
    for gap_s, wanted in wishes:
        at_s += gap_s
        before = ladder.level
        ladder.update(wanted, at_s)
        if ladder.level != before:
            changed_at_s.append(at_s)
        assert ladder.level >= wanted  # never looser than what is wanted
        assert sum(at_s - one < HOUR_S for one in changed_at_s) <= MOST_CHANGES


def test_a_state_that_is_no_longer_wanted_ends_after_half_a_minute() -> None:
    ladder = Ladder()
    ladder.update(2, 0.0)
    assert [ladder.update(0, second).value for second in (1.0, 30.0, 31.0)] == [
        "holding",
        "holding",
        "normal",
    ]


def test_it_goes_down_to_the_highest_level_that_was_wanted_meanwhile() -> None:
    ladder = Ladder()
    ladder.update(3, 0.0)
    ladder.update(0, 1.0)
    ladder.update(1, 20.0)
    assert ladder.update(0, 31.0).value == "paced"
