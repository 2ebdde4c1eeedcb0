from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InsufficientMemory
from appliance.planner.choice import Chosen, Wait, choose
from appliance.planner.evictions import Resident
from appliance.planner.facts import Accelerator, Ladder, Rung
from appliance.planner.ladder import Contender, build
from appliance.planner.steps import Traits
from appliance.wire.messages import Placement
from tests.fakes.flat_size import flat_size
from tests.unit.planner.strategies import LADDERS, RESIDENTS, terms

BUDGETS = st.integers(0, 12_000_000)


def ladder(*, slots: int = 1, min_ctx: int = 1024) -> Ladder:
    """On a CPU: 1,000,000 bytes of weights, 100 a cell, so the wish takes 1,409,600 a slot more or less."""
    return build(
        Contender(
            name="big",
            wish=Placement(n_ctx_seq=4096, n_seq_max=slots, kv_cells=0, n_ubatch=32),
            traits=Traits(n_ctx_train=8192, n_layer=32, quantizes_cache=False),
            size=flat_size(weights=1_000_000, cell=100, ubatch=0),
        ),
        min_ctx=min_ctx,
        terms=terms(Accelerator.NONE),
    )


def taken(choice: Chosen | Wait) -> tuple[int, int]:
    return choice.rung.placement.n_seq_max, choice.rung.placement.n_ctx_seq


def test_what_fits_is_taken_as_wished_and_nobody_goes() -> None:
    choice = choose(ladder(), budget_bytes=1_409_600, residents=[Resident(model="idle", bytes=5_000_000)])
    assert choice == Chosen(rung=ladder().rungs[0], evict=())


def test_an_idle_model_goes_before_anything_is_given_up() -> None:
    choice = choose(ladder(), budget_bytes=1_409_599, residents=[Resident(model="idle", bytes=1)])
    assert (taken(choice), choice) == ((1, 4096), Chosen(rung=ladder().rungs[0], evict=("idle",)))


def test_where_nobody_can_go_a_lower_rung_is_taken() -> None:
    busy = Resident(model="busy", bytes=9_000_000, is_busy=True)
    pinned = Resident(model="pinned", bytes=9_000_000, is_pinned=True)
    choice = choose(ladder(), budget_bytes=1_300_000, residents=[busy, pinned])
    assert isinstance(choice, Chosen)
    assert (taken(choice), choice.evict) == ((1, 2560), ())


def test_a_lower_rung_now_is_better_than_the_wish_later() -> None:
    busy = Resident(model="busy", bytes=9_000_000, is_busy=True)
    assert isinstance(choose(ladder(), budget_bytes=1_102_400, residents=[busy]), Chosen)


def test_a_busy_model_is_waited_for_where_nothing_fits_beside_it() -> None:
    residents = [
        Resident(model="busy", bytes=500_000, is_busy=True),
        Resident(model="other", bytes=10, is_busy=True),
        Resident(model="idle", bytes=1_000),
    ]
    choice = choose(ladder(), budget_bytes=1_000_000, residents=residents)
    assert isinstance(choice, Wait)
    assert (choice.busy, taken(choice)) == (("busy",), (1, 4096))


def test_more_than_the_comfortable_slots_fit_into_their_share_or_are_not_had() -> None:
    many = ladder(slots=16)
    assert taken(choose(many, budget_bytes=2 * 7_553_600)) == (16, 4096)
    assert taken(choose(many, budget_bytes=2 * 7_553_599)) == (8, 4096)
    assert taken(choose(many, budget_bytes=2 * 4_276_799)) == (4, 4096)
    assert taken(choose(many, budget_bytes=7_553_600, parallel_share=1.0)) == (16, 4096)


def test_nobody_goes_for_more_than_the_comfortable_slots() -> None:
    idle = Resident(model="idle", bytes=100_000_000)
    choice = choose(ladder(slots=16), budget_bytes=2_638_400, residents=[idle])
    assert (taken(choice), choice) == ((4, 4096), Chosen(rung=choice.rung, evict=()))


def test_what_cannot_fit_is_refused_with_the_numbers_and_what_would() -> None:
    with pytest.raises(InsufficientMemory) as caught:
        choose(ladder(min_ctx=2048), budget_bytes=1_150_000)
    assert caught.value.fields == {
        "model": "big",
        "needed_bytes": 1_204_800,
        "available_bytes": 1_150_000,
        "min_ctx": 2048,
        "largest_ctx": 1280,
    }
    assert caught.value.message == (
        "model 'big' needs 1 MB with at least 2048 tokens of context, 1 MB are available; "
        "ask for no more than 1280 tokens of context, which would fit, take a smaller quantisation, or end "
        "other programs"
    )


def test_a_refusal_says_which_pins_are_in_the_way_and_counts_who_could_go() -> None:
    residents = [
        Resident(model="b", bytes=100_000, is_pinned=True),
        Resident(model="a", bytes=100_000, is_pinned=True, is_busy=True),
        Resident(model="c", bytes=7, is_busy=True),
    ]
    with pytest.raises(InsufficientMemory) as caught:
        choose(ladder(), budget_bytes=1_000_000, residents=residents)
    assert caught.value.fields["pinned"] == ["a", "b"]
    assert caught.value.fields["available_bytes"] == 1_000_007
    assert "no context, however short, would fit: unpin a, b, or take" in caught.value.message


def test_a_gpu_with_its_own_memory_holds_what_it_can_and_the_board_the_rest() -> None:
    two_pools = build(
        Contender(
            name="big",
            wish=Placement(n_ctx_seq=1024, n_seq_max=1, kv_cells=0, n_ubatch=32, n_gpu_layers=-1),
            traits=Traits(n_ctx_train=8192, n_layer=7, quantizes_cache=False),
            size=flat_size(weights=800_000, cell=100, layers=8),
        ),
        min_ctx=1024,
        terms=terms(Accelerator.DISCRETE),
    )
    choice = choose(two_pools, budget_bytes=600_000, device_budget_bytes=500_000)
    assert choice.rung.placement.n_gpu_layers == 4
    on_gpu = Resident(model="old", bytes=0, device_bytes=300_000)
    better = choose(two_pools, budget_bytes=600_000, device_budget_bytes=500_000, residents=[on_gpu])
    assert better == Chosen(rung=two_pools.rungs[0], evict=("old",))
    with pytest.raises(InsufficientMemory) as caught:
        choose(two_pools, budget_bytes=200_000, device_budget_bytes=500_000)
    assert caught.value.fields["needed_bytes"] > caught.value.fields["available_bytes"]


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(
    ladder: Ladder, budget: int, residents: list[Resident], *, device: int | None = None
) -> Chosen | Wait | InsufficientMemory:
    """`device`: the GPU's budget where it has its own; None: as large as the board's."""
    own = budget if device is None else device
    try:
        return choose(ladder, budget_bytes=budget, residents=residents, device_budget_bytes=own)
    except InsufficientMemory as refusal:
        return refusal


def fits(rung: Rung, ladder: Ladder, budget: int, idle: list[Resident]) -> bool:
    if rung.placement.n_seq_max > ladder.comfortable:
        budget, idle = budget // 2, []
    freed = sum(one.bytes for one in idle)
    return rung.footprint.host_bytes <= budget + freed and rung.footprint.device_bytes <= budget


def idle_of(residents: list[Resident]) -> list[Resident]:
    return [one for one in residents if not one.is_busy and not one.is_pinned]


@given(LADDERS, BUDGETS, RESIDENTS)
def test_where_a_rung_fits_the_best_that_fits_is_taken(
    ladder: Ladder, budget: int, residents: list[Resident]
) -> None:
    fitting = [rung for rung in ladder.rungs if fits(rung, ladder, budget, idle_of(residents))]
    answer = outcome(ladder, budget, residents)
    assert isinstance(answer, Chosen) == bool(fitting)
    if isinstance(answer, Chosen):
        assert answer.rung == fitting[0]
        assert all(round(answer.rung.worth, 9) >= round(rung.worth, 9) for rung in fitting)


@given(LADDERS, BUDGETS, RESIDENTS)
def test_no_plan_is_over_budget_and_nobody_goes_needlessly(
    ladder: Ladder, budget: int, residents: list[Resident]
) -> None:
    answer = outcome(ladder, budget, residents)
    if not isinstance(answer, Chosen):
        return
    sizes = {one.model: one.bytes for one in idle_of(residents)}
    gone = [sizes[name] for name in answer.evict]  # a KeyError: one was evicted that is busy or pinned
    need = answer.rung.footprint.host_bytes
    assert need <= budget + sum(gone)
    assert all(need > budget + sum(gone) - one for one in gone)


@given(LADDERS, BUDGETS, BUDGETS, RESIDENTS)
def test_more_memory_never_gives_a_worse_rung(
    ladder: Ladder, budget: int, more: int, residents: list[Resident]
) -> None:
    little, much = outcome(ladder, budget, residents), outcome(ladder, budget + more, residents)
    if isinstance(little, Chosen):
        assert isinstance(much, Chosen)
        assert round(much.rung.worth, 9) >= round(little.rung.worth, 9)
    if isinstance(little, Wait):
        assert not isinstance(much, InsufficientMemory)


@given(LADDERS, BUDGETS, RESIDENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_residents_changes_nothing(
    ladder: Ladder, budget: int, residents: list[Resident], random: Random
) -> None:
    mixed = sorted(residents, key=lambda _: random.random())
    first, second = outcome(ladder, budget, residents), outcome(ladder, budget, mixed)
    if isinstance(first, InsufficientMemory):
        assert isinstance(second, InsufficientMemory)
        assert second.fields == first.fields
    else:
        assert second == first


@given(LADDERS, BUDGETS, RESIDENTS)
def test_a_wait_and_a_refusal_tell_the_truth(ladder: Ladder, budget: int, residents: list[Resident]) -> None:
    answer = outcome(ladder, budget, residents)
    if isinstance(answer, Wait):
        busy = {one.model for one in residents if one.is_busy and not one.is_pinned}
        assert set(answer.busy) <= busy
        assert answer.busy
        ended = [one for one in residents if one.model not in answer.busy]
        freed = sum(one.bytes for one in residents if one.model in answer.busy)
        assert isinstance(outcome(ladder, budget + freed, ended, device=budget), Chosen)
    if isinstance(answer, InsufficientMemory):
        assert answer.fields["needed_bytes"] > answer.fields["available_bytes"]
        assert answer.fields["largest_ctx"] < ladder.min_ctx
        everything = [one for one in residents if one.is_pinned]
        freed = sum(one.bytes for one in residents if not one.is_pinned)
        assert isinstance(outcome(ladder, budget + freed, everything, device=budget), InsufficientMemory)
