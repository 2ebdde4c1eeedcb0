from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.queue import FairQueue, ServiceTime


def filled(*items: str, limit: int = 100) -> FairQueue[str]:
    """`a1` is item 1 of owner a."""
    queue: FairQueue[str] = FairQueue(limit)
    for item in items:
        queue.push(item[0], item)
    return queue


def test_one_owner_is_served_in_order() -> None:
    assert filled("a1", "a2", "a3").drain() == ["a1", "a2", "a3"]


def test_owners_take_turns_whatever_their_numbers() -> None:
    assert filled("a1", "a2", "a3", "b1", "c1", "c2").drain() == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_newcomer_waits_for_at_most_one_item_of_each_other_owner() -> None:
    queue = filled(*(f"a{number}" for number in range(9)))
    queue.push("b", "b1")
    assert queue.pop() == "a0"
    assert queue.pop() == "b1"


def test_the_bound_is_over_all_owners() -> None:
    queue = filled("a1", "b1", limit=2)
    assert queue.is_full
    with pytest.raises(OverflowError):
        queue.push("c", "c1")


def test_an_item_may_leave_out_of_turn_once() -> None:
    queue = filled("a1", "b1", "a2")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("z", "z1")
    assert len(queue) == 2
    assert queue.drain() == ["a2", "b1"]


def test_the_last_item_of_an_owner_takes_the_owner_away() -> None:
    queue = filled("a1")
    assert queue.remove("a", "a1")
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


@given(st.lists(st.sampled_from("abcd"), max_size=40))
def test_nobody_is_lost_doubled_or_overtaken_within_an_owner(owners: list[str]) -> None:
    items = [f"{owner}{number}" for number, owner in enumerate(owners)]
    served = filled(*items).drain()
    assert sorted(served) == sorted(items)
    for owner in "abcd":
        mine = [item for item in served if item[0] == owner]
        assert mine == [item for item in items if item[0] == owner]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_no_owner_is_served_twice_while_another_has_waited_all_along(owners: list[str]) -> None:
    served = [item[0] for item in filled(*owners).drain()]
    left = {owner: owners.count(owner) for owner in set(owners)}
    since: dict[str, set[str]] = {}
    for owner in served:
        assert {other for other, count in left.items() if count and other != owner} <= since.get(
            owner, set(left)
        ) | {other for other in left if not left[other]}
        left[owner] -= 1
        for others in since.values():
            others.add(owner)
        since[owner] = set()


def test_the_first_guess_of_a_wait_is_five_seconds_per_round() -> None:
    assert ServiceTime().retry_after_s(waiting=9, max_running=10) == 5.0


def test_the_wait_follows_the_time_leases_are_held() -> None:
    service = ServiceTime()
    service.observe(10.0)
    assert service.retry_after_s(waiting=3, max_running=2) == 20.0
    service.observe(20.0)
    assert service.retry_after_s(waiting=0, max_running=1) == 12.0


def test_the_wait_told_is_within_bounds() -> None:
    service = ServiceTime()
    service.observe(0.001)
    assert service.retry_after_s(waiting=0, max_running=64) == 1.0
    for _ in range(50):
        service.observe(3600.0)
    assert service.retry_after_s(waiting=100, max_running=1) == 120.0
