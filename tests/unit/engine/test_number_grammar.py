"""Every pair of small bounds, against plain arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest

from appliance.engine.number_grammar import integer_body, number_body
from tests.fakes.grammar_reader import admits

BOUNDS = [(None, 9), (10, None), (-3, None), (None, -2), (0, 0), (-1, 1), (7, 123), (-105, -98), (-12, 5)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_exactly_the_integers_between_the_bounds_are_admitted(low: int | None, high: int | None) -> None:
    gbnf = f"root ::= {integer_body(low, high)}\n"
    inside = [n for n in range(-130, 131) if (low is None or low <= n) and (high is None or n <= high)]
    assert [n for n in range(-130, 131) if admits(gbnf, str(n))] == inside


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 3), (-3, 0), (-2, 2), (1, 2), (0, 0), (-4, -2), (None, 0), (0, None)]
)
def test_no_number_outside_its_bounds_is_admitted(
    low: int | None, high: int | None, above: bool, below: bool
) -> None:
    body = number_body(low, high, above=above, below=below)
    texts = [f"{n}{tail}" for n in range(-6, 7) for tail in ("", ".0", ".5", ".05")] + ["-0.5", "-0.0"]
    said = [text for text in texts if body is not None and admits(f"root ::= {body}\n", text)]
    for text in said:
        value = Fraction(text)
        assert low is None or value > low or (value == low and not above)
        assert high is None or value < high or (value == high and not below)
    wide = low is None or high is None or high - low > 1
    assert bool(said) == (wide or low != high or not (above or below))
