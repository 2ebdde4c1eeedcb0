from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.divergence import Comparison, log_softmax


def logits(*rows: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_the_divergence_of_two_coins_is_that_of_the_book() -> None:
    comparison = Comparison()
    fair, bent = [math.log(0.5), math.log(0.5)], [math.log(0.25), math.log(0.75)]
    assert comparison.add(logits(fair), logits(bent), np.array([0], np.int64))
    result = comparison.result()
    # 0.5 ln(0.5/0.25) + 0.5 ln(0.5/0.75)
    assert result.mean == pytest.approx(0.143841, abs=1e-6)
    assert result.original_perplexity == pytest.approx(2.0)
    assert result.candidate_perplexity == pytest.approx(4.0)


def test_a_model_is_no_distance_from_itself_whatever_is_added_to_its_logits() -> None:
    comparison, rows = Comparison(), logits([1.0, 2.0, 3.0], [0.0, -5.0, 9.0])
    assert comparison.add(rows, rows + 100, np.array([2, 2], np.int64))
    result = comparison.result()
    assert result.mean == pytest.approx(0.0, abs=1e-9)
    assert (result.same_top, result.tokens) == (1.0, 2)
    assert result.original_perplexity == pytest.approx(result.candidate_perplexity)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused_and_not_counted(bad: float) -> None:
    comparison, good = Comparison(), logits([1.0, 2.0])
    assert not comparison.add(good, logits([1.0, bad]), np.array([0], np.int64))
    assert not comparison.add(logits([bad, 1.0]), good, np.array([0], np.int64))
    assert comparison.add(good, good, np.array([0], np.int64))
    assert comparison.result().tokens == 1


def test_positions_add_up_over_many_blocks() -> None:
    comparison = Comparison()
    same, other = [3.0, 1.0, 0.0], [0.0, 1.0, 3.0]
    for _ in range(3):
        rows = logits(*[same] * 40)
        changed = logits(*[same] * 30, *[other] * 10)
        assert comparison.add(rows, changed, np.zeros(40, np.int64))
    result = comparison.result()
    assert result.tokens == 120
    assert result.same_top == 0.75
    assert result.p99 == pytest.approx(result.greatest)
    assert result.mean == pytest.approx(result.greatest / 4)


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=20))
def test_probabilities_sum_to_one(row: list[float]) -> None:
    assert np.exp(log_softmax(logits(row))).sum() == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(-30, 30, width=32), st.floats(-30, 30, width=32)), min_size=2))
def test_no_divergence_is_negative(pairs: list[tuple[float, float]]) -> None:
    comparison = Comparison()
    original, candidate = logits([a for a, _ in pairs]), logits([b for _, b in pairs])
    assert comparison.add(original, candidate, np.array([0], np.int64))
    assert comparison.result().mean >= 0.0
