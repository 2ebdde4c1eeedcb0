from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.queue import FairQueue, ServiceTime
from appliance.supervisor.turn import Priority

REALTIME, BACKGROUND = Priority.REALTIME, Priority.BACKGROUND


def filled(*items: str, **told: float) -> FairQueue[str]:
    """`a1` is item 1 of owner a; a capital is in the class background."""
    queue: FairQueue[str] = FairQueue(**told)
    for item in items:
        push(queue, item)
    return queue


def push(queue: FairQueue[str], item: str, now_s: float = 0.0, deadline_s: float | None = None) -> None:
    priority = BACKGROUND if item[0].isupper() else REALTIME
    queue.push(item, owner=item[0].lower(), now_s=now_s, priority=priority, deadline_s=deadline_s)


def drained(queue: FairQueue[str], now_s: float = 0.0) -> list[str]:
    return [entry.item for entry in queue.drain(now_s)]


def popped(queue: FairQueue[str], now_s: float = 0.0, *, held: bool = False) -> str | None:
    entry = queue.pop(now_s, is_background_held=held)
    return None if entry is None else entry.item


def test_one_owner_is_served_in_order() -> None:
    assert drained(filled("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_owners_take_turns_whatever_their_numbers() -> None:
    assert drained(filled("a1", "a2", "a3", "b1", "c1", "c2")) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_newcomer_waits_for_at_most_one_item_of_each_other_owner() -> None:
    queue = filled(*(f"a{number}" for number in range(9)))
    push(queue, "b1")
    assert [popped(queue), popped(queue)] == ["a0", "b1"]


def test_an_item_may_leave_out_of_turn_once() -> None:
    queue = filled("a1", "b1", "a2")
    assert queue.remove("a1")
    assert not queue.remove("a1")
    assert not queue.remove("z1")
    assert len(queue) == 2
    assert "a1" not in queue
    assert drained(queue) == ["a2", "b1"]


def test_the_last_item_of_an_owner_takes_the_owner_away() -> None:
    queue = filled("a1")
    assert queue.remove("a1")
    assert len(queue) == 0
    assert queue.pop(0.0) is None


# ── classes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_background_is_served_when_no_realtime_item_waits() -> None:
    assert drained(filled("A1", "a2", "B1", "b2", "A3")) == ["a2", "b2", "A1", "B1", "A3"]


def test_background_that_has_waited_long_counts_as_realtime_in_its_owners_lane() -> None:
    queue = filled("A1", background_max_wait_s=60.0)
    push(queue, "a2", 10.0)
    push(queue, "b1", 10.0)
    assert [entry.item for entry in queue.order(59.9)] == ["a2", "b1", "A1"]
    assert [entry.item for entry in queue.order(60.0)] == ["A1", "b1", "a2"]
    assert [popped(queue, 60.0) for _ in range(3)] == ["A1", "b1", "a2"]


def test_an_aged_item_whose_owner_has_no_realtime_item_waits_for_one_item_of_each_other_owner() -> None:
    queue = filled("C1", background_max_wait_s=60.0)
    for item in ("a1", "a2", "b1", "b2"):
        push(queue, item, 59.0)
    assert drained(queue, 60.0) == ["a1", "b1", "C1", "a2", "b2"]


def test_held_background_is_not_served_however_old_and_counts_its_age_when_it_is_let_go() -> None:
    queue = filled("A1", background_max_wait_s=60.0)
    push(queue, "b1", 500.0)
    assert [entry.item for entry in queue.order(500.0, is_background_held=True)] == ["b1", "A1"]
    assert popped(queue, 500.0, held=True) == "b1"
    assert popped(queue, 500.0, held=True) is None
    push(queue, "b2", 501.0)
    push(queue, "b3", 501.0)
    assert drained(queue, 501.0) == ["b2", "A1", "b3"]


def test_an_item_that_waited_elsewhere_keeps_its_age() -> None:
    queue: FairQueue[str] = FairQueue(background_max_wait_s=60.0)
    push(queue, "a1", 50.0)
    queue.push("B1", owner="b", now_s=50.0, priority=BACKGROUND, arrived_s=0.0)
    push(queue, "a2", 50.0)
    assert drained(queue, 60.0) == ["a1", "B1", "a2"]


def test_how_many_wait_is_told_by_the_class_they_wished() -> None:
    queue = filled("A1", "a1", "a2", background_max_wait_s=1.0)
    assert popped(queue, 1.0) == "A1"
    assert (queue.count(REALTIME), queue.count(BACKGROUND)) == (2, 0)


# ── deadlines ───────────────────────────────────────────────────────────────────────────────────────────────


def test_those_whose_deadline_has_come_are_taken_out_and_the_next_deadline_is_known() -> None:
    queue: FairQueue[str] = FairQueue()
    push(queue, "a1", deadline_s=5.0)
    push(queue, "b1", deadline_s=3.0)
    push(queue, "B2", deadline_s=9.0)
    push(queue, "c1")
    assert queue.next_deadline_s == 3.0
    assert queue.expire(2.9) == []
    assert [entry.item for entry in queue.expire(5.0)] == ["b1", "a1"]
    assert queue.next_deadline_s == 9.0
    assert drained(queue) == ["c1", "B2"]
    assert queue.next_deadline_s is None
    assert queue.expire(99.0) == []


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────

Act = tuple[str, float]
"""An item to come (a letter), a departure ("-") or nothing but time (" "); and how long after the last."""
acts = st.lists(st.tuples(st.sampled_from("abcABC-< "), st.sampled_from([0.0, 1.0, 20.0, 70.0])), max_size=60)


def played(story: Iterable[Act]) -> tuple[FairQueue[str], float, list[str]]:
    """The queue after the story, the time, and who was served in it."""
    queue: FairQueue[str] = FairQueue(background_max_wait_s=60.0)
    now_s, served = 0.0, []
    for number, (act, later_s) in enumerate(story):
        now_s += later_s
        if act == "-":
            item = popped(queue, now_s)
            served += [] if item is None else [item]
        elif act == "<":
            newest = list(queue)[-1:]
            served += [entry.item for entry in newest if queue.remove(entry.item)]
        elif act != " ":
            push(queue, f"{act}{number}", now_s)
    return queue, now_s, served


@given(acts)
def test_the_order_told_is_the_order_in_which_they_are_served(story: list[Act]) -> None:
    queue, now_s, _ = played(story)
    told = [entry.item for entry in queue.order(now_s)]
    assert drained(queue, now_s) == told


@given(acts)
def test_to_ask_for_the_order_changes_nothing_of_what_follows(story: list[Act]) -> None:
    queue, now_s, _ = played(story)
    asked, _, _ = played(story)
    asked.order(now_s)
    later_s = now_s + 30.0
    for each in (queue, asked):
        push(each, "b.", later_s)
    assert drained(asked, later_s) == drained(queue, later_s)


@given(acts, st.booleans())
def test_the_order_told_while_background_is_held_is_that_of_the_items_that_are_served(
    story: list[Act],
    held: bool,
) -> None:
    queue, now_s, _ = played(story)
    told = [entry.item for entry in queue.order(now_s, is_background_held=held)]
    served = []
    while (item := popped(queue, now_s, held=held)) is not None:
        served.append(item)
    assert told[: len(served)] == served
    assert all(entry.counts_as is BACKGROUND for entry in queue)


@given(acts)
def test_nobody_is_lost_or_doubled(story: list[Act]) -> None:
    queue, now_s, served = played(story)
    came = [f"{act}{number}" for number, (act, _) in enumerate(story) if act.isalpha()]
    assert sorted(served + drained(queue, now_s)) == sorted(came)
    assert len(queue) == 0


@given(st.lists(st.sampled_from("abcABC"), max_size=40))
def test_nobody_is_overtaken_within_an_owner_and_a_class(owners: list[str]) -> None:
    items = [f"{owner}{number}" for number, owner in enumerate(owners)]
    served = drained(filled(*items))
    for owner in "abcABC":
        mine = [item for item in served if item[0] == owner]
        assert mine == [item for item in items if item[0] == owner]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_no_owner_is_served_twice_while_another_has_waited_all_along(owners: list[str]) -> None:
    served = [item[0] for item in drained(filled(*(f"{owner}{n}" for n, owner in enumerate(owners))))]
    left = Counter(owners)
    for place, owner in enumerate(served):
        later = served[place + 1 :]
        until_next = later.index(owner) if owner in later else len(later)
        between = set(later[:until_next])
        left[owner] -= 1
        if owner in later:
            assert between == {other for other, count in left.items() if count and other != owner}


# ── how long ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_guess_of_a_wait_is_five_seconds_per_round() -> None:
    assert ServiceTime().retry_after_s(waiting=9, max_running=10) == 5.0


def test_the_wait_follows_the_time_leases_are_held() -> None:
    service = ServiceTime()
    service.observe(10.0)
    assert service.retry_after_s(waiting=3, max_running=2) == 20.0
    assert service.eta_s(position=4, max_running=2) == 20.0
    service.observe(20.0)
    assert service.retry_after_s(waiting=0, max_running=1) == 12.0


def test_the_wait_told_is_within_bounds() -> None:
    service = ServiceTime()
    service.observe(0.001)
    assert service.retry_after_s(waiting=0, max_running=64) == 1.0
    for _ in range(50):
        service.observe(3600.0)
    assert service.retry_after_s(waiting=100, max_running=1) == 120.0
