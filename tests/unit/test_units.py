"""Durations as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.units import FOR_EVER, kept, seconds_kept


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (300, 300.0),
        (1.5, 1.5),
        (-1, FOR_EVER),
        (1e30, FOR_EVER),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("100ms", 0.1),
        ("0", 0.0),
        ("30", 30.0),
        ("-1", FOR_EVER),
        ("-1m", FOR_EVER),
        ("+10s", 10.0),
        ("24h", 86400.0),
    ],
)
def test_a_keep_alive_is_read_as_ollama_s_clients_write_it(value: float | str, seconds: float) -> None:
    assert seconds_kept(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "5 m",
        "m",
        "5x",
        "5m!",
        "--5m",
        "+-5",
        "٥m",
        "1e3",
        "inf",
        "nan",
        "5m" * 40,
        math.nan,
        "0x10",
        "5M",
    ],
)
def test_what_is_no_duration_is_refused_with_what_one_is(value: float | str) -> None:
    with pytest.raises(ValueError, match="30s, 10m or 1h30m"):
        seconds_kept(value)


@given(st.floats(min_value=0, max_value=1e6))
def test_what_is_written_can_be_read_again(seconds: float) -> None:
    assert seconds_kept(kept(seconds)) == pytest.approx(seconds, abs=1e-3)


def test_for_ever_is_written_in_words() -> None:
    assert [kept(FOR_EVER), kept(300), kept(5400), kept(0)] == ["for ever", "5m", "1h30m", "0s"]
