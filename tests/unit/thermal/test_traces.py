"""Traces of boards, second by second: each gives the right one of ok, hot, undervoltage, overcurrent and
sensor_fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliance.hardware.power import PowerReading
from appliance.hardware.rails import Rail
from appliance.hardware.thermal_zones import CoolingDevice, Zone
from appliance.thermal.governor import Governor
from appliance.thermal.values import Cooling, HeatPolicy, Look
from tests.fakes.thermal_board import NO_POWER, ORIN, PI4, PI5, RK3588, X86, Board, look_at, zone_of

BOARDS = pytest.mark.parametrize("board", [ORIN, PI5, PI4, RK3588, X86], ids=lambda board: board.name)
PI_QUIET = replace(
    NO_POWER, under_voltage=False, frequency_capped=False, is_throttled=False, soft_limit=False
)


def follow(
    board: Board, look: Callable[[float], Look], seconds: int, *, policy: HeatPolicy | None = None
) -> list[Cooling]:
    governor = Governor(policy or board.policy)
    return [governor.update(look(float(second))) for second in range(seconds)]


def steady(board: Board, celsius: float, **more: object) -> Callable[[float], Look]:
    def look(at_s: float) -> Look:
        wobble = 0.1 * (at_s % 3)
        return look_at(at_s, zone_of(board, celsius + wobble), **more)  # type: ignore[arg-type]

    return look


def alert(state: int) -> CoolingDevice:
    return CoolingDevice(kind="cpu-throttle-alert", state=state, max_state=1)


def rail(watts: float, *, over: bool | None = False) -> PowerReading:
    one = Rail(name="VDD_IN", power_watts=watts, volts=5.0, amperes=watts / 5, is_over_current=over)
    return replace(NO_POWER, rails=(one,), input_watts=watts, missing=None)


# ── ok ─────────────────────────────────────────────────────────────────────────────────────────────────────


@BOARDS
def test_a_cool_board_is_ok_and_unlimited(board: Board) -> None:
    last = follow(board, steady(board, 50.0), 300)[-1]
    assert (last.state, last.cause, last.limits.duty, last.limits.token_budget) == ("normal", "ok", 1.0, None)
    assert last.limits.admit
    assert not last.limits.hold_background


def test_a_machine_without_sensors_is_ok_and_unlimited() -> None:
    last = follow(X86, look_at, 300)[-1]
    assert (last.state, last.cause, last.reason) == ("normal", "ok", "no sensors")
    assert last.limits.duty == 1.0
    assert last.margin_celsius is None


def test_vision_engines_that_sleep_are_no_fault() -> None:
    def look(at_s: float) -> Look:
        cv0 = zone_of(ORIN, 48.0 if at_s < 60 else None, name="cv0-thermal")
        return look_at(at_s, zone_of(ORIN, 50.0 + at_s % 2), cv0)

    assert {cooling.cause for cooling in follow(ORIN, look, 200)} == {"ok"}


def test_a_zone_that_never_could_be_read_is_no_fault() -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(ORIN, 50.0 + at_s % 2), zone_of(ORIN, None, name="gpu-thermal"))

    assert {cooling.cause for cooling in follow(ORIN, look, 200)} == {"ok"}


# ── hot ────────────────────────────────────────────────────────────────────────────────────────────────────


@BOARDS
def test_a_ramp_is_hot_and_each_measure_comes_after_the_one_before(board: Board) -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(board, board.limit_celsius - 40 + 0.1 * at_s))

    coolings = follow(board, look, 420)
    assert {cooling.cause for cooling in coolings} == {"ok", "hot"}
    assert coolings[-1].state == "closed"

    def first(is_taken: Callable[[Cooling], bool]) -> int:
        return next(second for second, cooling in enumerate(coolings) if is_taken(cooling))

    taken = [
        first(lambda cooling: cooling.limits.token_budget is not None),
        first(lambda cooling: cooling.limits.duty < 1),
        first(lambda cooling: cooling.limits.hold_background),
        first(lambda cooling: not cooling.limits.admit),
    ]
    assert taken == sorted(taken)
    assert taken[0] < taken[1] < taken[2] < taken[3]
    assert taken[-1] <= 400  # at the limit itself


def test_the_kernel_throttles_near_the_limit_that_is_heat_and_closes_at_once() -> None:
    coolings = follow(
        ORIN, lambda at_s: look_at(at_s, zone_of(ORIN, 97.5), devices=(alert(int(at_s >= 20)),)), 25
    )
    assert coolings[19].limits.admit
    assert (coolings[20].state, coolings[20].cause) == ("closed", "hot")
    assert coolings[20].limits.duty == 0.1
    assert coolings[20].is_throttled
    assert 30 <= coolings[20].limits.retry_after_s <= 300


def test_the_firmware_of_a_pi_throttles_without_undervoltage_that_is_heat() -> None:
    power = replace(PI_QUIET, frequency_capped=True, is_throttled=True)
    last = follow(PI4, steady(PI4, 79.0, power=power), 10)[-1]
    assert (last.state, last.cause) == ("closed", "hot")


def test_who_is_throttled_once_keeps_a_greater_distance() -> None:
    governor = Governor(ORIN.policy)
    for second in range(600):
        devices = (alert(int(second < 5)),)
        governor.update(look_at(float(second), zone_of(ORIN, 95.0 + 0.1 * (second % 2)), devices=devices))
    assert governor.cooling.limits.duty < 0.9  # 4 K were enough for full pace before


def test_after_a_closed_state_it_opens_when_cool_and_not_before_half_a_minute() -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(PI5, 81.0 if at_s < 60 else 60.0 + at_s % 2))

    coolings = follow(PI5, look, 200)
    assert not coolings[59].limits.admit
    opened = next(second for second in range(60, 200) if coolings[second].limits.admit)
    assert 90 <= opened <= 110
    assert all(cooling.limits.admit for cooling in coolings[opened:])


# ── undervoltage ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("board", [PI5, PI4], ids=lambda board: board.name)
def test_a_brown_out_is_undervoltage_though_the_firmware_also_throttles(board: Board) -> None:
    bad = replace(PI_QUIET, under_voltage=True, frequency_capped=True, is_throttled=True)

    def look(at_s: float) -> Look:
        power = bad if 100 <= at_s < 130 else PI_QUIET
        return look_at(at_s, zone_of(board, 60.0 + at_s % 2), power=power)

    coolings = follow(board, look, 400)
    assert coolings[99].cause == "ok"
    assert {cooling.cause for cooling in coolings[100:150]} == {"undervoltage"}
    assert coolings[104].limits.duty < 0.6
    assert coolings[129].state == "holding"
    assert coolings[129].limits.admit  # to refuse helps no supply
    assert "hot" not in {cooling.cause for cooling in coolings}
    last = coolings[-1]
    assert (last.limits.duty, last.limits.token_budget, last.cause) == (1.0, None, "ok")


def test_throttle_bits_that_outlast_the_undervoltage_are_still_its_own() -> None:
    late = replace(PI_QUIET, is_throttled=True)

    def look(at_s: float) -> Look:
        power = replace(late, under_voltage=True) if at_s < 5 else late if at_s < 30 else PI_QUIET
        return look_at(at_s, zone_of(PI4, 60.0 + at_s % 2), power=power)

    assert {cooling.cause for cooling in follow(PI4, look, 60)} == {"undervoltage"}


def test_a_spike_of_a_second_costs_little() -> None:
    def look(at_s: float) -> Look:
        power = replace(PI_QUIET, under_voltage=at_s == 10)
        return look_at(at_s, zone_of(PI4, 60.0 + at_s % 2), power=power)

    coolings = follow(PI4, look, 120)
    assert min(cooling.limits.duty for cooling in coolings) >= 0.8
    assert coolings[-1].state == "normal"


# ── overcurrent ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rail_past_its_limit_is_overcurrent() -> None:
    def look(at_s: float) -> Look:
        power = rail(29.0, over=True) if 50 <= at_s < 70 else rail(15.0)
        return look_at(at_s, zone_of(ORIN, 60.0 + at_s % 2), power=power)

    coolings = follow(ORIN, look, 80)
    assert coolings[49].cause == "ok"
    assert (coolings[55].cause, coolings[55].reason) == ("overcurrent", "too much current on VDD_IN")
    assert coolings[69].limits.duty <= 0.2


def test_a_board_that_throttles_while_it_is_cool_is_overcurrent() -> None:
    last = follow(ORIN, steady(ORIN, 60.0, devices=(alert(1),)), 10)[-1]
    assert (last.cause, last.limits.admit) == ("overcurrent", True)


def test_a_budget_of_power_is_kept_by_the_pace() -> None:
    governor, duty = Governor(HeatPolicy(power_budget_watts=15.0)), 1.0
    for second in range(600):
        power = rail(5.0 + 20.0 * duty)
        cooling = governor.update(look_at(float(second), zone_of(ORIN, 60.0 + second % 2), power=power))
        duty = cooling.limits.duty
    cooling = governor.cooling
    assert duty == pytest.approx(0.5, abs=0.02)
    assert (cooling.state, cooling.cause) == ("paced", "overcurrent")
    assert cooling.reason == "15.0 W are drawn, 15.0 W are allowed"
    assert cooling.changes <= 2


def test_a_budget_without_a_sensor_limits_nothing() -> None:
    last = follow(PI4, steady(PI4, 50.0), 60, policy=HeatPolicy(power_budget_watts=5.0))[-1]
    assert (last.state, last.limits.duty) == ("normal", 1.0)


# ── sensor_fault ───────────────────────────────────────────────────────────────────────────────────────────


@BOARDS
def test_a_sensor_that_vanishes_is_a_fault_with_a_safe_pace(board: Board) -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(board, 60.0 + at_s % 2 if at_s < 60 else None))

    coolings = follow(board, look, 200)
    assert coolings[62].cause == "ok"  # one missed look is no fault yet
    assert {cooling.cause for cooling in coolings[66:]} == {"sensor_fault"}
    assert {cooling.limits.duty for cooling in coolings[70:]} == {0.5}
    assert coolings[-1].zones[0].temperature_celsius is None
    assert "cannot be read any more" in coolings[-1].reason
    assert coolings[-1].limits.admit


def test_a_tree_that_loses_all_zones_is_a_fault_too() -> None:
    last = follow(
        ORIN, lambda at_s: look_at(at_s, *([zone_of(ORIN, 60.0 + at_s % 2)] if at_s < 60 else [])), 90
    )[-1]
    assert last.cause == "sensor_fault"


def test_a_reading_of_zero_is_a_fault_and_not_cold() -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(ORIN, 90.0 + at_s % 2 if at_s < 60 else 0.0))

    coolings = follow(ORIN, look, 80)
    assert coolings[-1].cause == "sensor_fault"
    assert coolings[-1].zones[0].temperature_celsius is None
    assert all(cooling.state != "normal" for cooling in coolings[30:])


def test_a_temperature_that_no_chip_has_is_a_fault() -> None:
    last = follow(X86, lambda at_s: look_at(at_s, zone_of(X86, 60.0 + at_s % 2 if at_s < 60 else 180.0)), 80)[
        -1
    ]
    assert (last.cause, last.reason) == ("sensor_fault", "x86_pkg_temp: reads 180 °C, which no chip has")


def test_a_sensor_that_freezes_while_its_neighbours_move_is_a_fault() -> None:
    def look(at_s: float) -> Look:
        frozen: Zone = zone_of(ORIN, 60.0 + (at_s % 2 if at_s < 60 else 0))
        return look_at(at_s, frozen, zone_of(ORIN, 55.0 + 0.1 * at_s, name="gpu-thermal"))

    coolings = follow(ORIN, look, 250)
    assert coolings[150].cause == "ok"
    assert coolings[200].cause == "sensor_fault"
    assert "cpu: has told the same for" in coolings[200].reason
    assert coolings[200].limits.duty <= 0.5


def test_a_lone_sensor_that_freezes_while_work_comes_and_goes_is_a_fault() -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(PI4, 60.0), busy=at_s % 60 < 30)

    assert follow(PI4, look, 200)[-1].cause == "sensor_fault"


def test_a_lone_sensor_that_stays_under_steady_work_is_none() -> None:
    assert follow(PI4, lambda at_s: look_at(at_s, zone_of(PI4, 60.0)), 600)[-1].cause == "ok"


def test_a_sensor_that_comes_back_is_believed_after_a_minute() -> None:
    def look(at_s: float) -> Look:
        return look_at(at_s, zone_of(PI5, None if 60 <= at_s < 90 else 60.0 + at_s % 2))

    coolings = follow(PI5, look, 300)
    assert coolings[140].cause == "sensor_fault"
    assert (coolings[-1].state, coolings[-1].cause) == ("normal", "ok")
