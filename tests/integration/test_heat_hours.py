"""An hour at full load on simulated boards: what the governor promises of heat, throughput and calm. The
figures are printed with `-s`.
"""

from __future__ import annotations

import itertools

import pytest

from tests.fakes.thermal_board import (
    BARE,
    BOARDS,
    LARGE,
    ORIN,
    PI4,
    PI5,
    RK3588,
    X86,
    Board,
    best_constant_rate,
    blocked_fan,
    governed,
    hotter,
)

_SLOW = pytest.mark.timeout(30)
_NAMES = [board.name for board in BOARDS]


@_SLOW
@pytest.mark.parametrize("board", BOARDS, ids=_NAMES)
def test_no_trip_is_passed_and_little_throughput_lost(board: Board) -> None:
    run, best = governed(board), best_constant_rate(board)
    print(
        f"{board.name}: peak {run.peak_celsius:.1f} of {board.limit_celsius:.0f} °C, "
        f"{run.rate / best:.1%} of the best constant rate ({best:.0%}), {run.changes} changes of the state"
    )
    assert run.peak_celsius < board.limit_celsius
    assert run.rate >= 0.95 * best
    assert run.changes <= 6
    assert run.states() == {"normal", "paced"}


@_SLOW
@pytest.mark.parametrize("board", [PI4, ORIN, X86], ids=lambda board: board.name)
def test_the_pace_is_smooth_once_it_is_found(board: Board) -> None:
    duties = governed(board, minutes=40).duties[-3000:]
    steps = [abs(after - before) for before, after in itertools.pairwise(duties)]
    mean = sum(duties) / len(duties)
    assert max(steps) <= 0.25
    assert sum(steps) / len(steps) <= 0.03
    assert max(abs(duty - mean) for duty in duties) <= 0.3


@_SLOW
@pytest.mark.parametrize("board", [PI4, PI5, ORIN, RK3588, X86, LARGE], ids=lambda board: board.name)
def test_an_ambient_that_rises_by_15_kelvin_at_once_passes_no_trip(board: Board) -> None:
    run = governed(board, minutes=40, world=hotter(15, after_s=1200))
    assert run.peak_celsius < board.limit_celsius
    assert run.coolings[-1].cause == "hot"
    assert run.changes <= 6


@_SLOW
@pytest.mark.parametrize("board", [PI5, ORIN, RK3588, X86, LARGE], ids=lambda board: board.name)
def test_a_fan_that_stops_passes_no_trip(board: Board) -> None:
    """It then cools half as well. Boards that pass their limit idle without it are not here."""
    run = governed(board, minutes=40, world=blocked_fan(2.0, after_s=1200))
    assert run.peak_celsius < board.limit_celsius
    assert run.coolings[-1].cause == "hot"
    assert run.changes <= 6


@_SLOW
def test_load_that_comes_and_goes_makes_the_state_no_flag_in_the_wind() -> None:
    run = governed(BARE, load=lambda at_s: 1.0 if at_s % 240 < 120 else 0.0)
    assert run.peak_celsius < BARE.limit_celsius
    assert run.changes <= 6


@_SLOW
def test_a_cool_board_is_never_limited() -> None:
    run = governed(LARGE, minutes=20, load=lambda _: 0.3)
    assert run.states() == {"normal"}
    assert run.rate == pytest.approx(0.3)
