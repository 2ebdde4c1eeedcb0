from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.store.ranges import Ranges

_PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def test_touching_ranges_become_one() -> None:
    ranges = Ranges([(0, 10), (20, 30), (10, 20)])

    assert ranges.as_list() == [(0, 30)]
    assert ranges.total == 30


def test_missing_are_the_gaps_inside_the_asked_range() -> None:
    assert Ranges([(10, 20), (30, 40)]).missing(0, 50) == [(0, 10), (20, 30), (40, 50)]
    assert Ranges([(10, 20), (30, 40)]).missing(15, 35) == [(20, 30)]


def test_the_end_of_a_position_is_where_its_range_stops() -> None:
    ranges = Ranges([(0, 10), (20, 30)])

    assert [ranges.end_of(at) for at in (0, 9, 10, 15, 20)] == [10, 10, 10, 15, 30]


@given(added=_PAIRS, removed=_PAIRS, asked=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_ranges_behave_as_a_set_of_positions(
    added: list[tuple[int, int]], removed: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    ranges, model = Ranges(), set[int]()
    for start, end in added:
        ranges.add(start, end)
        model.update(range(start, end))
    for start, end in removed:
        ranges.remove(start, end)
        model.difference_update(range(start, end))

    gaps = {at for start, end in ranges.missing(*asked) for at in range(start, end)}

    assert gaps == set(range(*asked)) - model
    assert ranges.total == len(model)
    assert {at for start, end in ranges.as_list() for at in range(start, end)} == model
