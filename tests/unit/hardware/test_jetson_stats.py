from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hardware.jetson_stats import JetsonStats, parse
from appliance.hardware.root import Absent


def test_the_last_line_is_the_answer() -> None:
    told = parse(b'noise\n{"version": "7.2.2", "total_milliwatts": 1500}\n')
    assert isinstance(told, JetsonStats)
    assert (told.version, told.total_watts, told.module) == ("7.2.2", 1.5, None)


@pytest.mark.parametrize("output", [b"", b"\n", b"[]", b"7", b"{", b"[" * 60_000, b"\xff"])
def test_other_answers_are_not_understood(output: bytes) -> None:
    assert parse(output) == Absent(path="", reason="jtop: unavailable (its answer is not understood)")


def test_a_long_error_is_cut() -> None:
    told = parse(b'{"error": "' + b"x " * 5000 + b'"}')
    assert isinstance(told, Absent)
    assert len(str(told)) < 300


@given(st.binary())
def test_no_answer_makes_parsing_raise(output: bytes) -> None:
    assert isinstance(parse(output), Absent | JetsonStats)
