"""Against the definition, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.logprobs import token_logprob

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=50)


def piece(token: int) -> bytes:
    return f"<{token}>".encode()


def reference(logits: list[float]) -> list[float]:
    exponents = np.exp(np.array(logits, np.float64))
    return [float(value) for value in np.log(exponents / exponents.sum())]


@given(logits=LOGITS, token=st.integers(0, 49), top=st.integers(0, 60))
def test_logprobs_are_the_logarithm_of_the_softmax(logits: list[float], token: int, top: int) -> None:
    token %= len(logits)
    said = token_logprob(np.array(logits, np.float32), token, top, piece)
    expected = reference([float(np.float32(value)) for value in logits])
    assert said.token == token and said.piece == piece(token)
    assert said.logprob == pytest.approx(expected[token], abs=1e-5)
    order = sorted(range(len(logits)), key=lambda index: (-np.float32(logits[index]), index))
    assert [one.token for one in said.top] == order[:top]
    for one in said.top:
        assert one.logprob == pytest.approx(expected[one.token], abs=1e-5)
        assert one.piece == piece(one.token)


@given(logits=LOGITS)
def test_the_probabilities_of_the_whole_vocabulary_sum_to_one(logits: list[float]) -> None:
    said = token_logprob(np.array(logits, np.float32), 0, len(logits), piece)
    assert sum(np.exp(one.logprob) for one in said.top) == pytest.approx(1)


def test_a_token_that_was_impossible_has_a_finite_logprob() -> None:
    said = token_logprob(np.array([1.0, -np.inf], np.float32), 1, 2, piece)
    assert said.logprob == -9999.0
    assert [one.token for one in said.top] == [0, 1]


def test_huge_logits_do_not_overflow() -> None:
    said = token_logprob(np.array([3e38, 3e38], np.float32), 0, 0, piece)
    assert said.logprob == pytest.approx(np.log(0.5))
    assert said.top == []


def test_the_logits_are_left_as_they_are() -> None:
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    token_logprob(logits, 0, 2, piece)
    assert logits.tolist() == [1.0, 2.0, 3.0]
