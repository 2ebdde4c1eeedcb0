from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from appliance.planner.evictions import Resident, Room, victims


def idle(model: str, size: int, *, idle_s: float = 10.0, reload_s: float = 1.0) -> Resident:
    return Resident(model=model, bytes=size, idle_s=idle_s, reload_s=reload_s)


def gone(*residents: Resident, need: int) -> tuple[str, ...] | None:
    return victims(residents, room=Room(0), need=Room(need))


def test_nobody_goes_where_there_is_room() -> None:
    assert victims([idle("a", 5)], room=Room(5), need=Room(5)) == ()


def test_not_even_all_suffice() -> None:
    assert gone(idle("a", 5), idle("b", 5), need=11) is None


def test_who_has_been_idle_longest_goes() -> None:
    assert gone(idle("old", 5, idle_s=600), idle("new", 5, idle_s=1), need=5) == ("old",)


def test_who_is_soon_loaded_again_goes_before_who_takes_long() -> None:
    assert gone(idle("slow", 5, reload_s=60), idle("quick", 5, reload_s=1), need=5) == ("quick",)


def test_two_that_are_long_forgotten_go_before_one_that_was_just_asked() -> None:
    fresh = idle("fresh", 100, idle_s=1, reload_s=60)
    assert gone(fresh, idle("x", 6, idle_s=9000), idle("y", 6, idle_s=9000), need=10) == ("x", "y")


def test_of_equals_the_fewest_go_and_then_the_smallest() -> None:
    assert gone(idle("a", 5), idle("b", 5), idle("c", 10), need=10) == ("c",)
    assert gone(idle("large", 50), idle("small", 10), need=10) == ("small",)


def test_a_gpu_with_its_own_memory_is_freed_by_who_is_on_it() -> None:
    host = Resident(model="host", bytes=100)
    device = Resident(model="device", bytes=1, device_bytes=50)
    assert victims([host, device], room=Room(0, 0), need=Room(1, 40)) == ("device",)


SIZES = st.lists(
    st.tuples(st.integers(0, 1000), st.floats(0, 1e6), st.floats(0, 1e3)), min_size=1, max_size=40
)


@given(SIZES, st.integers(1, 20_000))
def test_it_is_enough_and_nobody_of_them_could_stay(facts: list[tuple[int, float, float]], need: int) -> None:
    residents = [
        idle(f"m{number:02}", size, idle_s=rest, reload_s=load)
        for number, (size, rest, load) in enumerate(facts)
    ]
    chosen = gone(*residents, need=need)
    total = sum(one.bytes for one in residents)
    assert (chosen is None) == (total < need)
    if chosen is None:
        return
    sizes = [one.bytes for one in residents if one.model in chosen]
    assert sum(sizes) >= need
    assert all(sum(sizes) - size < need for size in sizes)


@given(SIZES.filter(lambda facts: len(facts) <= 7), st.integers(1, 3_000))
def test_of_few_no_others_would_be_missed_less(facts: list[tuple[int, float, float]], need: int) -> None:
    residents = [
        idle(f"m{number}", size, idle_s=rest, reload_s=load)
        for number, (size, rest, load) in enumerate(facts)
    ]
    chosen = gone(*residents, need=need)
    if chosen is None:
        return
    regret = sum(one.regret for one in residents if one.model in chosen)
    others = [
        sum(one.regret for one in some)
        for count in range(1, len(residents) + 1)
        for some in combinations(residents, count)
        if sum(one.bytes for one in some) >= need
    ]
    assert regret <= min(others) * (1 + 1e-9)
