from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.planner.budget import Bound, Reading, budget, reserve

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(
    ("total", "kept"),
    [
        (64 * GIB, 64 * GIB * 8 // 100),
        (8 * GIB, 8 * GIB * 8 // 100),
        (6 * GIB, 512 * MIB),
        (4 * GIB, 512 * MIB),
        (2 * GIB, 256 * MIB),
        (512 * MIB, 64 * MIB),
        (0, 0),
    ],
)
def test_what_stays_free_grows_with_the_board(total: int, kept: int) -> None:
    assert reserve(total) == kept


def test_the_budget_is_what_is_available_less_what_stays_free() -> None:
    found = budget(Reading(total_bytes=8 * GIB, available_bytes=7 * GIB))
    assert found.bytes == 7 * GIB - reserve(8 * GIB)
    assert (found.bound, found.available_bytes) == (Bound.MEM_AVAILABLE, 7 * GIB)


def test_a_tighter_cgroup_bounds_it() -> None:
    reading = Reading(
        total_bytes=8 * GIB,
        available_bytes=7 * GIB,
        cgroup_limit_bytes=4 * GIB,
        cgroup_usage_bytes=1 * GIB,
    )
    found = budget(reading, reserve_bytes=100 * MIB)
    assert (found.bytes, found.bound) == (3 * GIB - 100 * MIB, Bound.CGROUP)


@pytest.mark.parametrize("limit", [8 * GIB, 1 << 62])
def test_a_wide_cgroup_does_not(limit: int) -> None:
    reading = Reading(total_bytes=8 * GIB, available_bytes=7 * GIB, cgroup_limit_bytes=limit)
    assert budget(reading).bound == Bound.MEM_AVAILABLE


@given(
    st.integers(0, 1 << 40),
    st.integers(-5, 1 << 40),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
)
def test_it_is_never_negative_and_never_more_than_is_available(
    total: int, available: int, limit: int | None, usage: int | None, kept: int
) -> None:
    reading = Reading(
        total_bytes=total,
        available_bytes=available,
        cgroup_limit_bytes=limit,
        cgroup_usage_bytes=usage,
    )
    assert 0 <= budget(reading, reserve_bytes=kept).bytes <= max(0, available)
