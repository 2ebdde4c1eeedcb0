"""When the machine is short of memory, as a rule over two looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.pressure import MemoryLook, is_short

MIB = 1 << 20
QUIET = MemoryLook(room_bytes=4096 * MIB, stalled_s=100.0)


def look(room_mib: int | None = 4096, stalled_s: float | None = 100.0) -> MemoryLook:
    return MemoryLook(room_bytes=None if room_mib is None else room_mib * MIB, stalled_s=stalled_s)


@pytest.mark.parametrize(
    ("now", "short"),
    [
        (look(), False),
        (look(256), False),
        (look(255), True),
        (look(0), True),
        (look(stalled_s=100.02), False),
        (look(stalled_s=100.025), True),
        (look(stalled_s=99.0), False),
        (look(room_mib=None), False),
        (look(stalled_s=None), False),
        (look(room_mib=None, stalled_s=None), False),
        (look(room_mib=255, stalled_s=None), True),
    ],
)
def test_short_is_below_the_floor_or_stalled_for_a_tenth_of_the_time(now: MemoryLook, short: bool) -> None:
    assert is_short(now, QUIET, elapsed_s=0.25, floor_bytes=256 * MIB) is short


def test_a_kernel_that_tells_of_pressure_only_now_is_not_taken_for_a_stall() -> None:
    assert not is_short(look(stalled_s=500.0), look(stalled_s=None), elapsed_s=0.25, floor_bytes=0)


@given(st.integers(0, 8192), st.integers(0, 8192), st.integers(0, 4096))
def test_less_room_is_never_less_short(first: int, second: int, floor: int) -> None:
    less, more = sorted((first, second))
    shorts = [is_short(look(room), QUIET, elapsed_s=0.25, floor_bytes=floor * MIB) for room in (less, more)]
    assert shorts[0] >= shorts[1]
