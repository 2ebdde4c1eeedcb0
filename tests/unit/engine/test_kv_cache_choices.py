"""Which slot a prompt gets, and which slots change places: decisions, with no cache behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.kv_cache import MIN_REUSE, Choice, Slot, choose_slot, count_passes, plan_swap, runs


def slot(index: int, *, held: int = 0, busy: bool = False, last_used: int = 0) -> Slot:
    return Slot(index, tokens=[1] * held, held=held, busy=busy, last_used=last_used)


# ── choose_slot ─────────────────────────────────────────────────────────────────────────────────────────────


def test_no_slot_is_chosen_when_all_are_busy() -> None:
    assert choose_slot([slot(0, busy=True)], None, 0, copy_pays=True) is None


def test_a_prompt_that_continues_most_of_a_free_slot_runs_there() -> None:
    slots = [slot(0), slot(1, held=100)]
    assert choose_slot(slots, 1, 50, copy_pays=True) == Choice(target=1, copy_from=None, reuse=50)


def test_a_prompt_that_shares_little_of_a_long_slot_leaves_it_alone() -> None:
    slots = [slot(0), slot(1, held=100)]
    assert choose_slot(slots, 1, 49, copy_pays=True) == Choice(target=0, copy_from=1, reuse=49)


def test_the_only_free_slot_is_reused_however_little_it_shares() -> None:
    slots = [slot(0, busy=True), slot(1, held=100)]
    assert choose_slot(slots, 1, 3, copy_pays=True) == Choice(target=1, copy_from=None, reuse=3)


def test_a_busy_slot_gives_its_prefix_as_a_copy() -> None:
    slots = [slot(0, held=100, busy=True), slot(1)]
    assert choose_slot(slots, 0, 60, copy_pays=True) == Choice(target=1, copy_from=0, reuse=60)


def test_nothing_is_copied_when_computing_is_cheaper() -> None:
    slots = [slot(0, held=100, busy=True), slot(1)]
    assert choose_slot(slots, 0, 60, copy_pays=False) == Choice(target=1, copy_from=None, reuse=0)


def test_a_prefix_too_short_to_matter_is_not_copied() -> None:
    slots = [slot(0, held=100, busy=True), slot(1)]
    choice = choose_slot(slots, 0, MIN_REUSE - 1, copy_pays=True)
    assert choice == Choice(target=1, copy_from=None, reuse=0)


def test_an_empty_slot_goes_before_a_cached_prefix() -> None:
    slots = [slot(0, held=5, last_used=1), slot(1), slot(2, busy=True)]
    choice = choose_slot(slots, None, 0, copy_pays=True)
    assert choice is not None and choice.target == 1


def test_the_empty_slot_nearest_to_the_busy_ones_is_taken() -> None:
    slots = [slot(0), slot(1), slot(2), slot(3, busy=True), slot(4)]
    choice = choose_slot(slots, None, 0, copy_pays=True)
    assert choice is not None and choice.target == 2


def test_without_an_empty_slot_the_one_used_longest_ago_goes() -> None:
    slots = [slot(0, held=5, last_used=7), slot(1, held=5, last_used=3), slot(2, held=5, last_used=9)]
    choice = choose_slot(slots, None, 0, copy_pays=True)
    assert choice is not None and choice.target == 1


def test_the_prefix_that_is_copied_is_not_the_one_that_is_dropped() -> None:
    slots = [slot(0, held=100, last_used=1), slot(1, held=10, last_used=5)]
    assert choose_slot(slots, 0, 30, copy_pays=True) == Choice(target=1, copy_from=0, reuse=30)


@given(
    states=st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 9)), min_size=1, max_size=6),
    matched=st.none() | st.integers(0, 5),
    ready=st.integers(0, 50),
    copy_pays=st.booleans(),
)
def test_the_chosen_slot_is_free_and_reuse_has_a_source(
    states: list[tuple[int, bool, int]], matched: int | None, ready: int, copy_pays: bool
) -> None:
    slots = [
        slot(index, held=held, busy=busy, last_used=used) for index, (held, busy, used) in enumerate(states)
    ]
    matched = None if matched is None or matched >= len(slots) else matched
    ready = min(ready, slots[matched].held) if matched is not None else 0
    choice = choose_slot(slots, matched, ready, copy_pays=copy_pays)
    if all(one.busy for one in slots):
        assert choice is None
        return
    assert choice is not None and not slots[choice.target].busy
    if choice.reuse:
        assert matched in (choice.target, choice.copy_from) and choice.reuse == ready
    assert choice.copy_from != choice.target


# ── plan_swap ───────────────────────────────────────────────────────────────────────────────────────────────


@given(slots=st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=1, max_size=16))
def test_as_many_exchanges_as_busy_slots_at_most_make_them_neighbours(slots: list[tuple[bool, int]]) -> None:
    busy = {index for index, (is_busy, _) in enumerate(slots) if is_busy}
    held = [cells for _, cells in slots]
    exchanges = 0
    while (exchange := plan_swap(sorted(busy), held)) is not None:
        outsider, hole = exchange
        assert outsider in busy and hole not in busy
        busy = busy - {outsider} | {hole}
        held[outsider], held[hole] = held[hole], held[outsider]
        exchanges += 1
        assert exchanges <= len(busy)
    assert runs(sorted(busy)) <= 1


def test_neighbours_need_no_exchange() -> None:
    assert plan_swap([2, 3, 4], [0] * 8) is None


def test_the_smallest_slots_move() -> None:
    assert plan_swap([0, 1, 5], [100, 100, 0, 100, 100, 7]) == (5, 2)


def test_runs_are_counted() -> None:
    assert [runs(indices) for indices in ([], [3], [1, 2, 3], [0, 2, 3, 7])] == [0, 1, 1, 3]


@pytest.mark.parametrize(
    ("tokens_of", "passes"),
    [
        ({}, 0),
        ({3: 40}, 1),
        ({0: 1, 1: 1, 2: 1}, 1),
        ({0: 1, 2: 1}, 2),
        ({0: 1, 1: 5, 2: 1}, 2),
        ({0: 5, 1: 1, 2: 5}, 3),
        ({0: 3, 1: 5}, 2),
        ({0: 5, 1: 5}, 1),
    ],
)
def test_passes_are_counted_as_the_batch_is_split(tokens_of: dict[int, int], passes: int) -> None:
    assert count_passes(tokens_of) == passes
