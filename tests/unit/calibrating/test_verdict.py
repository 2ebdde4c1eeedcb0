from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.calibrating.verdict import Reason, compared, kept, survivors, verdicts

RATES = st.floats(min_value=0.01, max_value=1e5)
ROUNDS = st.lists(
    st.dictionaries(
        st.sampled_from(["default", "a", "b", "c"]),
        st.dictionaries(st.sampled_from(["prefill", "decode", "decode_many"]), RATES),
    ),
    max_size=8,
)


def rounds(default: list[float], candidate: list[float]) -> list[dict[str, dict[str, float]]]:
    return [
        {"default": {"prefill": before}, "other": {"prefill": after}}
        for before, after in zip(default, candidate, strict=True)
    ]


def test_what_is_faster_in_every_round_takes_the_defaults_place() -> None:
    (found,) = verdicts("default", rounds([100, 90, 110], [120, 108, 132]))
    assert (found.label, found.reason) == ("other", Reason.KEPT)
    assert found.text == "1.20x the default's speed in 3 rounds"
    assert kept("default", rounds([100, 90, 110], [120, 108, 132])) == "other"


@pytest.mark.parametrize(
    ("default", "candidate", "expected"),
    [
        ([100, 100], [200, 200], Reason.TOO_FEW_ROUNDS),
        ([100], [59], Reason.HOPELESS),
        ([100], [61], Reason.TOO_FEW_ROUNDS),
        ([100, 100, 100], [104, 104, 104], Reason.NOT_FASTER),
        ([100, 100, 100], [50, 50, 50], Reason.NOT_FASTER),
        ([100, 100, 100], [90, 108, 108], Reason.NOISE),
        ([100, 100, 100, 100], [80, 95, 180, 190], Reason.NOISE),
        ([100, 100, 100, 100, 100], [70, 108, 140, 101, 170], Reason.NOISE),
    ],
)
def test_the_default_stays_without_a_gain_beyond_noise(
    default: list[float], candidate: list[float], expected: Reason
) -> None:
    measured = rounds(default, candidate)
    (found,) = verdicts("default", measured)
    assert found.reason is expected
    assert kept("default", measured) == "default"


def test_noise_says_what_it_is() -> None:
    (lost,) = verdicts("default", rounds([100, 100, 100], [90, 108, 108]))
    assert lost.text == "1.08x the default's speed, but slower in 1 of 3 rounds"
    (wide,) = verdicts("default", rounds([100, 100, 100, 100], [101, 102, 180, 190]))
    assert wide.text == "1.35x the default's speed, within the noise (at least 0.88x)"


def test_one_round_spoilt_by_others_does_not_undo_many() -> None:
    measured = rounds([100] * 5, [150, 149, 30, 151, 152])
    assert kept("default", measured) == "other"


def test_a_gain_that_is_paid_with_one_figure_is_none() -> None:
    one = {
        "default": {"prefill": 100.0, "decode": 10.0, "decode_many": 40.0},
        "other": {"prefill": 300.0, "decode": 8.9, "decode_many": 40.0},
    }
    (found,) = verdicts("default", [one] * 3)
    assert found.reason is Reason.SLOWER_SOMEWHERE
    assert found.text == "1.49x the default's speed, but decode has 0.89x"


def test_of_several_the_fastest_is_kept() -> None:
    one = {"default": {"prefill": 100.0}, "a": {"prefill": 120.0}, "b": {"prefill": 130.0}}
    found = {verdict.label: verdict.reason for verdict in verdicts("default", [one] * 3)}
    assert found == {"a": Reason.NOT_BEST, "b": Reason.KEPT}


@pytest.mark.parametrize("broken", [0.0, -1.0, math.nan, math.inf])
def test_a_speed_that_is_none_says_nothing(broken: float) -> None:
    measured = rounds([100, 100, broken], [200, 200, 200])
    assert compared("default", "other", measured).rounds == 2
    assert kept("default", measured) == "default"


def test_the_better_half_goes_on_and_the_default_always() -> None:
    one = {
        label: {"prefill": speed} for label, speed in (("d", 100.0), ("a", 10.0), ("b", 20.0), ("c", 30.0))
    }
    assert survivors("d", ["a", "b", "c", "d"], [one, one]) == ("d", "b", "c")
    assert survivors("d", ["d", "b", "c"], [one, one]) == ("d", "c")
    assert survivors("d", ["d", "c"], [one, one]) == ("d", "c")


def test_one_round_leaves_out_only_what_is_hopeless() -> None:
    speeds = {"d": 100.0, "a": 59.0, "b": 61.0, "c": 200.0}
    one = {label: {"prefill": speed} for label, speed in speeds.items()}
    assert survivors("d", ["d", "a", "b", "c"], [one]) == ("d", "b", "c")


@given(measured=ROUNDS)
def test_what_is_kept_is_never_slower_than_the_default(measured: list[dict[str, dict[str, float]]]) -> None:
    label = kept("default", measured)
    if label != "default":
        found = compared("default", label, measured)
        assert found.ratio >= 1.05
        assert found.low > 1.0
        assert found.least >= 0.9
        assert found.rounds >= 3
        assert all(found.ratio >= compared("default", other, measured).ratio for other in _passed(measured))


def _passed(measured: list[dict[str, dict[str, float]]]) -> list[str]:
    passing = (Reason.KEPT, Reason.NOT_BEST)
    return [one.label for one in verdicts("default", measured) if one.reason in passing]


@given(measured=ROUNDS, seed=st.integers(0, 1000))
def test_neither_the_order_of_rounds_nor_of_candidates_matters(
    measured: list[dict[str, dict[str, float]]], seed: int
) -> None:
    shuffled = [dict(sorted(one.items(), reverse=True)) for one in measured]
    random.Random(seed).shuffle(shuffled)
    assert kept("default", measured) == kept("default", shuffled)


@given(measured=ROUNDS)
def test_at_most_one_is_kept(measured: list[dict[str, dict[str, float]]]) -> None:
    assert sum(one.reason is Reason.KEPT for one in verdicts("default", measured)) <= 1
