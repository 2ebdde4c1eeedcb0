from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.optimizing.verdict import Bounds, Reason, Trial, lacking, ratios, verdicts
from appliance.wire.judge import Figures, Judged
from tests.fakes.optimizing import FAST, ORIGINAL, SLOW, divergence, judged


def trial(kind: str = "Q8_0", *, told: Judged | None = None, size_bytes: int = 100) -> Trial:
    return Trial(kind=kind, size_bytes=size_bytes, needed_bytes=2 * size_bytes, judged=told)


def reason(one: Trial, bounds: Bounds = Bounds()) -> Reason:  # noqa: B008 - frozen
    (verdict,) = verdicts([one], bounds)
    return verdict.reason


def test_what_is_faster_and_as_good_is_kept_with_its_figures() -> None:
    (verdict,) = verdicts([trial(told=judged())], Bounds())
    assert verdict.reason is Reason.KEPT
    # 2.0^0.4 * 1.1^0.35 * 1.6^0.125 * 1.7^0.125
    assert verdict.score == pytest.approx(1.5466, abs=1e-3)
    assert verdict.text == "1.55x the original's speed, KL divergence 0.0030"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (trial(told=judged(mean=0.0101)), Reason.LOSSY),
        (trial(told=judged(mean=math.nan)), Reason.LOSSY),
        (trial(told=Judged(divergence=divergence(1.0), n_threads=1)), Reason.LOSSY),
        (trial(told=Judged(divergence=divergence(), n_threads=1)), Reason.FAILED),
        (trial(told=judged(SLOW)), Reason.NOT_FASTER),
        (trial(told=judged(ORIGINAL)), Reason.NOT_FASTER),
        (trial(), Reason.FAILED),
        (replace(trial(told=judged()), too_large="it needs 2 of 1 bytes"), Reason.TOO_LARGE),
    ],
)
def test_what_falls_short_is_not_kept_and_the_reason_is_named(one: Trial, expected: Reason) -> None:
    assert reason(one) is expected


def test_a_fast_prompt_does_not_pay_for_a_reader_who_waits() -> None:
    lame = Figures(prefill_per_s=400.0, decode_per_s={1: 8.0, 8: 60.0, 32: 100.0})
    assert reason(trial(told=judged(lame))) is Reason.SLOWER_SOMEWHERE
    assert reason(trial(told=judged(lame)), Bounds(min_ratio=0.5)) is Reason.KEPT


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (None, None),
        (300, None),
        (299, "to compare it with the original takes 300 bytes of memory, 299 are available"),
        (199, "it needs 200 bytes of memory, 199 are available"),
    ],
)
def test_memory_must_hold_both_and_what_nobody_knows_is_held_against_nobody(
    available: int | None, expected: str | None
) -> None:
    assert lacking(200, 300, available_bytes=available) == expected


def test_of_several_the_fastest_is_kept_and_of_equals_the_smaller() -> None:
    faster = Figures(prefill_per_s=300.0, decode_per_s={1: 20.0, 8: 64.0, 32: 136.0})
    found = verdicts(
        [trial("A", told=judged()), trial("B", told=judged(faster)), trial("C", told=judged(mean=9.0))],
        Bounds(),
    )
    assert [verdict.reason for verdict in found] == [Reason.NOT_BEST, Reason.KEPT, Reason.LOSSY]
    assert found[0].text.endswith("; B is better")
    equal = [trial("A", told=judged(), size_bytes=200), trial("B", told=judged(), size_bytes=100)]
    assert [one.reason for one in verdicts(equal, Bounds())] == [
        Reason.NOT_BEST,
        Reason.KEPT,
    ]


def test_widths_that_one_of_them_has_not_are_left_out() -> None:
    found = ratios(ORIGINAL, Figures(prefill_per_s=100.0, decode_per_s={1: 20.0}))
    assert found.decode == {1: 2.0}
    assert found.score == pytest.approx(2.0 ** (0.35 / 0.75))


@given(st.floats(0.1, 10.0))
def test_a_candidate_that_is_so_many_times_faster_everywhere_has_that_score(factor: float) -> None:
    fast = Figures(
        prefill_per_s=100.0 * factor,
        decode_per_s={width: per_s * factor for width, per_s in ORIGINAL.decode_per_s.items()},
    )
    assert ratios(ORIGINAL, fast).score == pytest.approx(factor)


@given(st.lists(st.tuples(st.floats(0.5, 3.0), st.floats(0, 0.02)), min_size=1, max_size=6))
def test_never_more_than_one_is_kept_and_never_one_that_loses_too_much(
    found: list[tuple[float, float]],
) -> None:
    trials = [
        trial(
            str(number),
            told=judged(Figures(prefill_per_s=100 * speed, decode_per_s={1: 10 * speed}), mean=mean),
        )
        for number, (speed, mean) in enumerate(found)
    ]
    kept = [
        one
        for one, verdict in zip(found, verdicts(trials, Bounds()), strict=True)
        if verdict.reason is Reason.KEPT
    ]
    good = [speed for speed, mean in found if mean <= 0.01 and speed >= 1.1001]
    assert len(kept) <= 1
    assert all(mean <= 0.01 and speed >= 1.0999 for speed, mean in kept)
    assert not good or kept[0][0] == pytest.approx(max(good), abs=2e-3)


def test_a_figure_of_zero_is_no_speed() -> None:
    dead = Figures(prefill_per_s=0.0, decode_per_s={1: 0.0})
    assert ratios(dead, FAST).score == 0.0
    assert ratios(ORIGINAL, dead).score == 0.0
