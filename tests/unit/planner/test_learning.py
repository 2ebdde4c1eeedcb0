"""Plans corrected by what loads took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.planner.learning import Learned, decoded

MIB = 1024 * 1024
BYTES = st.integers(1, 1 << 40)


def learned_of(*loads: tuple[int, int], model: str = "m") -> Learned:
    learned = Learned()
    for planned, measured in loads:
        learned = learned.with_load(board="orin", model=model, planned_bytes=planned, measured_bytes=measured)
    return learned


def test_without_a_load_the_plan_stands() -> None:
    assert Learned().corrected_bytes(700, board="orin", model="m") == 700
    assert Learned().ratio(board="orin", model="m") is None


def test_what_took_more_is_planned_larger() -> None:
    learned = learned_of((1000 * MIB, 1100 * MIB))
    assert learned.corrected_bytes(500 * MIB, board="orin", model="m") == 550 * MIB


def test_what_took_less_is_not_planned_smaller() -> None:
    learned = learned_of((1000, 700))
    assert learned.ratio(board="orin", model="m") == 0.7
    assert learned.corrected_bytes(1000, board="orin", model="m") == 1000


def test_another_board_or_model_learns_nothing_of_it() -> None:
    learned = learned_of((1000, 1500))
    assert learned.corrected_bytes(1000, board="pi", model="m") == 1000
    assert learned.corrected_bytes(1000, board="orin", model="n") == 1000


def test_a_leak_is_not_planned_with() -> None:
    assert learned_of((1000, 90_000)).corrected_bytes(1000, board="orin", model="m") == 2000


def test_the_last_eight_loads_count() -> None:
    learned = learned_of((1000, 1500), *[(1000, 1010)] * 8)
    assert learned.corrected_bytes(1000, board="orin", model="m") == 1010


@given(st.lists(st.tuples(BYTES, BYTES), max_size=12))
def test_a_plan_that_was_measured_is_never_below_what_was_measured(loads: list[tuple[int, int]]) -> None:
    learned = learned_of(*loads)
    for planned, measured in loads[-8:]:
        corrected = learned.corrected_bytes(planned, board="orin", model="m")
        assert corrected >= planned
        assert corrected >= min(measured, 2 * planned) - 1


@given(st.lists(st.tuples(BYTES, BYTES), max_size=12))
def test_what_is_written_is_read(loads: list[tuple[int, int]]) -> None:
    learned = learned_of(*loads)
    assert decoded(learned.encoded()) == learned


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'{"format":2,"loads":{}}', b'{"format":1,"loads":{"a":[[1]]}}', b"\xff\xfe"],
)
def test_of_garbage_nothing_was_learned(raw: bytes) -> None:
    assert decoded(raw) == Learned()


def test_loads_of_zero_bytes_are_not_believed() -> None:
    raw = b'{"format":1,"loads":{"orin\\nm":[[0,5],[10,0],[10,20]]}}'
    assert decoded(raw).ratio(board="orin", model="m") == 2.0
    assert learned_of((0, 10), (10, 0)) == Learned()


def test_no_more_than_256_models_are_remembered() -> None:
    learned = Learned()
    for number in range(300):
        learned = learned.with_load(board="b", model=str(number), planned_bytes=10, measured_bytes=20)
    assert learned.ratio(board="b", model="43") is None
    assert learned.ratio(board="b", model="44") == 2.0
