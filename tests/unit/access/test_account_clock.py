"""The clock of quotas: no wall clock, however wrong, resets a quota or locks a key out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.access.account_clock import AccountClock, Mark, resumed_ns
from appliance.access.gcra import SECOND_NS

SAVED = Mark(account_ns=1000, wall_ns=5 * SECOND_NS, boot="a", boottime_ns=50)


def test_within_a_boot_the_wall_clock_is_not_asked() -> None:
    for wall_ns in (0, 5 * SECOND_NS, 10**20):
        assert resumed_ns(SAVED, wall_ns=wall_ns, boot="a", boottime_ns=57) == 1007


def test_after_a_boot_it_goes_on_by_the_wall_clock_where_that_went_on() -> None:
    assert resumed_ns(SAVED, wall_ns=8 * SECOND_NS, boot="b", boottime_ns=1) == 1000 + 3 * SECOND_NS


def test_a_board_that_wakes_in_the_past_goes_on_where_it_stood() -> None:
    assert resumed_ns(SAVED, wall_ns=0, boot="b", boottime_ns=1) == 1000
    assert resumed_ns(SAVED, wall_ns=0, boot="", boottime_ns=99) == 1000


def test_the_first_start_begins_at_nothing() -> None:
    assert resumed_ns(None, wall_ns=10**20, boot="b", boottime_ns=1) == 0


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-(10**20), 10**20), st.integers(0, 10**15)), max_size=20)
)
def test_it_never_goes_back_whatever_the_clocks_do(starts: list[tuple[bool, int, int]]) -> None:
    saved, boot, boottime_ns, last_ns = None, 0, 0, 0
    for is_other_boot, wall_ns, passed_ns in starts:
        boot += is_other_boot
        boottime_ns = 0 if is_other_boot else boottime_ns + passed_ns
        clock = started(saved, wall_ns, boottime_ns, boot=str(boot))
        assert clock.now_ns() >= last_ns
        last_ns = clock.now_ns()
        saved = clock.mark()
        assert saved.account_ns == last_ns


def started(saved: Mark | None, wall_ns: int, boottime_ns: int, *, boot: str) -> AccountClock:
    return AccountClock(saved, wall_ns=lambda: wall_ns, boottime_ns=lambda: boottime_ns, boot=boot)


def test_the_real_one_goes_on() -> None:
    clock = AccountClock()
    first = clock.now_ns()
    assert 0 <= first <= clock.now_ns()
    assert clock.mark().boot == AccountClock().mark().boot
