from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InvalidRequest, ModelInvalid
from appliance.planner.facts import Accelerator, Concession, Footprint, Ladder, Rung
from appliance.planner.ladder import Contender, Terms, build, least_context, resized, resolved
from appliance.planner.prices import CPU_PRICES, GPU_PRICES, PriceTable
from appliance.planner.steps import Traits
from appliance.wire.messages import Placement
from tests.fakes.flat_size import flat_size
from tests.unit.planner.strategies import ACCELERATORS, LADDERS, LEAST_CONTEXTS, MODELS, terms

WISH = Placement(n_ctx_seq=4096, n_seq_max=1, kv_cells=0, n_ubatch=512, n_gpu_layers=-1)


def contender(
    *,
    wish: Placement = WISH,
    trained: int | None = 8192,
    quantizes: bool = True,
    projector: int = 0,
    layers: int | None = None,
) -> Contender:
    return Contender(
        name="big",
        wish=wish,
        traits=Traits(
            n_ctx_train=trained, n_layer=32, has_projector=projector > 0, quantizes_cache=quantizes
        ),
        size=flat_size(weights=1_000_000, cell=100, ubatch=100, projector=projector, layers=layers),
    )


def gives_up(rung: Rung) -> list[tuple[str, str, str]]:
    return [(str(one.what), one.wanted, one.got) for one in rung.conceded]


def what(ladder: Ladder) -> set[Concession]:
    return {one.what for rung in ladder.rungs for one in rung.conceded}


def test_the_wish_is_the_first_rung_and_gives_up_nothing() -> None:
    first = build(contender(), min_ctx=2048, terms=terms(Accelerator.UNIFIED)).rungs[0]
    assert (first.conceded, first.worth, first.variant) == ((), 1.0, None)
    assert (first.placement.n_ctx_seq, first.placement.n_seq_max, first.placement.n_ubatch) == (4096, 1, 512)


def test_cheap_concessions_come_before_dear_ones_on_a_gpu() -> None:
    ladder = build(contender(), min_ctx=2048, terms=terms(Accelerator.UNIFIED))
    assert [gives_up(rung) for rung in ladder.rungs[:5]] == [
        [],
        [("context", "4096", "3584")],
        [("context", "4096", "3584"), ("ubatch", "512", "256")],
        [("context", "4096", "3072")],
        [("cache_type", "f16", "q8_0")],
    ]


def test_on_a_cpu_a_quantised_cache_is_dearer_than_half_the_context() -> None:
    ladder = build(contender(), min_ctx=2048, terms=terms(Accelerator.NONE))
    halved = next(rung for rung in ladder.rungs if rung.placement.n_ctx_seq == 2048)
    assert halved.placement.type_k == "f16"
    first_quantised = next(rung for rung in ladder.rungs if rung.placement.type_k == "q8_0")
    assert first_quantised.worth < halved.worth


def test_the_boards_own_prices_change_the_order() -> None:
    cheap = PriceTable(cache_prefill=1.0, cache_decode=1.01, ubatch_prefill=CPU_PRICES.ubatch_prefill)
    measured = Terms(accelerator=Accelerator.NONE, prices=cheap)
    ladder = build(contender(), min_ctx=2048, terms=measured)
    assert gives_up(ladder.rungs[3]) == [("cache_type", "f16", "q8_0")]


def test_of_two_equal_prices_the_earlier_axis_is_conceded() -> None:
    equal = PriceTable(slots_halved=1.25, context_halved=1.25, cache_prefill=1.25, cache_decode=1.25)
    wish = Placement(n_ctx_seq=4096, n_seq_max=2, kv_cells=0, n_ubatch=32)

    def same(placements: Sequence[Placement]) -> list[Footprint]:
        """Every concession frees the same, so that all of equal price are equals but in order."""
        return [
            Footprint(
                weights_bytes=10 - ([one.n_seq_max, one.n_ctx_seq, one.type_k] != [2, 4096, "f16"]),
                mapped_bytes=0,
                cache_bytes=0,
                compute_bytes=0,
                output_bytes=0,
                process_bytes=0,
            )
            for one in placements
        ]

    model = Contender(name="m", wish=wish, traits=Traits(n_ctx_train=None, n_layer=1), size=same)
    ladder = build(model, min_ctx=2048, terms=Terms(accelerator=Accelerator.NONE, prices=equal))
    first_conceded = ladder.rungs[1]
    assert gives_up(first_conceded) == [("context", "4096", "3584")]
    only_halves = build(
        model,
        min_ctx=4096,
        terms=Terms(accelerator=Accelerator.NONE, prices=equal),
    )
    assert gives_up(only_halves.rungs[1]) == [("parallel", "2", "1")]


def test_slots_are_halved_and_the_comfortable_number_is_one_of_the_steps() -> None:
    wish = Placement(n_ctx_seq=1024, n_seq_max=11, kv_cells=0, n_ubatch=32)
    ladder = build(
        contender(wish=wish, quantizes=False), min_ctx=1024, terms=terms(Accelerator.NONE, comfortable=3)
    )
    assert [rung.placement.n_seq_max for rung in ladder.rungs] == [11, 8, 4, 3, 2, 1]


def test_every_rung_says_its_cells_so_that_the_runner_chooses_nothing() -> None:
    wish = Placement(n_ctx_seq=1024, n_seq_max=4, kv_cells=0)
    for rung in build(contender(wish=wish), min_ctx=512, terms=terms(Accelerator.NONE)).rungs:
        assert rung.placement.kv_cells == rung.placement.n_ctx_seq * rung.placement.n_seq_max


def test_a_bound_of_cells_bounds_the_slots_that_are_wished_for() -> None:
    wish = Placement(n_ctx_seq=1024, n_seq_max=64, kv_cells=5000)
    assert resolved(contender(wish=wish), min_ctx=256).n_seq_max == 4


@pytest.mark.parametrize(
    ("wished", "trained", "min_ctx", "tokens"),
    [(0, 8192, 256, 8192), (0, None, 256, 256), (16384, 8192, 256, 8192), (1024, 8192, 4096, 4096)],
)
def test_the_context_of_a_wish(wished: int, trained: int | None, min_ctx: int, tokens: int) -> None:
    wish = Placement(n_ctx_seq=wished, n_seq_max=1, kv_cells=0)
    assert resolved(contender(wish=wish, trained=trained), min_ctx=min_ctx).n_ctx_seq == tokens


def test_more_context_than_the_model_was_made_for_is_refused_and_not_shortened() -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(contender(trained=2048), min_ctx=4096, terms=terms(Accelerator.NONE))
    assert caught.value.message == ("min_ctx: 'big' was made for 2048 tokens of context, 4096 are asked for")


@pytest.mark.parametrize(
    ("asked", "wished", "trained", "least"),
    [
        (None, 4096, 8192, 2048),
        (None, 512, 8192, 512),
        (None, 0, 8192, 2048),
        (None, 4096, 256, 256),
        (8192, 4096, 256, 8192),
    ],
)
def test_the_least_context_is_what_is_asked_for_or_what_can_be_had_of_the_default(
    asked: int | None, wished: int, trained: int, least: int
) -> None:
    wish = Placement(n_ctx_seq=wished, n_seq_max=1, kv_cells=0)
    assert least_context(asked, default=2048, wish=wish, n_ctx_train=trained) == least


def test_layers_stay_on_a_gpu_that_shares_the_boards_memory() -> None:
    assert Concession.GPU_LAYERS not in what(
        build(contender(), min_ctx=256, terms=terms(Accelerator.UNIFIED))
    )
    discrete = build(contender(layers=33), min_ctx=256, terms=terms(Accelerator.DISCRETE))
    assert Concession.GPU_LAYERS in what(discrete)
    assert {rung.placement.n_gpu_layers for rung in discrete.rungs} == {-1, 24, 16, 8, 0}


def test_a_projector_goes_to_the_cpu_where_that_frees_something() -> None:
    ladder = build(contender(projector=5_000), min_ctx=256, terms=terms(Accelerator.UNIFIED))
    moved = [rung for rung in ladder.rungs if rung.placement.projector_on_cpu]
    assert ("projector_on_cpu", "gpu", "cpu") in gives_up(moved[0])
    assert Concession.PROJECTOR not in what(
        build(contender(projector=5_000), min_ctx=256, terms=terms(Accelerator.NONE))
    )


def test_a_cache_is_quantised_only_where_the_heads_allow_it_and_both_halves_together() -> None:
    assert Concession.CACHE_TYPE not in what(
        build(contender(quantizes=False), min_ctx=256, terms=terms(Accelerator.UNIFIED))
    )
    ladder = build(contender(), min_ctx=256, terms=terms(Accelerator.UNIFIED))
    assert {(rung.placement.type_k, rung.placement.type_v) for rung in ladder.rungs} == {
        ("f16", "f16"),
        ("q8_0", "q8_0"),
    }


def test_a_smaller_variant_comes_after_what_the_model_itself_can_give_up() -> None:
    small = Contender(
        name="small",
        wish=WISH,
        traits=Traits(n_ctx_train=8192, n_layer=32),
        size=flat_size(weights=1_000, cell=100, ubatch=100),
    )
    short = Contender(name="short", wish=WISH, traits=Traits(n_ctx_train=512, n_layer=32), size=small.size)
    ladder = build(contender(), min_ctx=2048, terms=terms(Accelerator.UNIFIED), smaller=[small, short])
    names = [rung.variant for rung in ladder.rungs]
    assert names[0] is None
    assert names == sorted(names, key=lambda name: name is not None)
    assert set(names) == {None, "small"}  # `short` was not made for so much context
    first = next(rung for rung in ladder.rungs if rung.variant)
    assert gives_up(first) == [("variant", "big", "small")]


def test_contexts_below_the_least_are_told_but_are_no_rungs() -> None:
    ladder = build(contender(), min_ctx=2048, terms=terms(Accelerator.UNIFIED))
    lengths = [rung.placement.n_ctx_seq for rung in ladder.below]
    assert lengths == [1792, 1536, 1280, 1024, 768, 512, 256]
    assert {(rung.placement.n_ubatch, rung.placement.type_k) for rung in ladder.below} == {(32, "q8_0")}


def test_other_sizes_give_the_same_rungs_without_those_that_are_no_use() -> None:
    ladder = build(contender(), min_ctx=2048, terms=terms(Accelerator.UNIFIED))
    flat = [rung.footprint for rung in ladder.rungs[:1]] * len(ladder.rungs)
    assert resized(ladder, flat).rungs == ladder.rungs[:1]
    assert resized(ladder, [rung.footprint for rung in ladder.rungs]) == ladder


def refusing(cache: str) -> Contender:
    """llama.cpp has no kernels for this type of cache."""
    model = contender()

    def size(placements: Sequence[Placement]) -> list[Footprint | None]:
        told = zip(placements, model.size(placements), strict=True)
        return [None if placement.type_k == cache else taken for placement, taken in told]

    return Contender(name="big", wish=model.wish, traits=model.traits, size=size)


def test_what_llama_cpp_refuses_is_no_rung() -> None:
    ladder = build(refusing("q8_0"), min_ctx=1024, terms=terms(Accelerator.UNIFIED))
    assert Concession.CACHE_TYPE not in what(ladder)
    quantised = build(refusing("f16"), min_ctx=1024, terms=terms(Accelerator.UNIFIED))
    assert {rung.placement.type_k for rung in quantised.rungs} == {"q8_0"}
    without = resized(quantised, [None, *(rung.footprint for rung in quantised.rungs[1:])])
    assert without.rungs == quantised.rungs[1:]


def test_a_model_of_which_llama_cpp_refuses_everything_is_invalid() -> None:
    wish = Placement(n_ctx_seq=1024, n_seq_max=8, kv_cells=0)
    nothing = Contender(
        name="m",
        wish=wish,
        traits=Traits(n_ctx_train=None, n_layer=1),
        size=lambda wishes: [None] * len(wishes),
    )
    with pytest.raises(ModelInvalid, match="refuses every placement"):
        build(nothing, min_ctx=512, terms=terms(Accelerator.NONE))


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(LADDERS)
def test_no_rung_is_below_the_least_context(ladder: Ladder) -> None:
    assert all(rung.placement.n_ctx_seq >= ladder.min_ctx for rung in ladder.rungs)
    assert all(rung.placement.n_ctx_seq < ladder.min_ctx for rung in ladder.below)


@given(LADDERS)
def test_rungs_are_worth_less_and_less_and_the_last_firm_one_is_the_smallest(ladder: Ladder) -> None:
    worths = [round(rung.worth, 9) for rung in ladder.rungs]
    assert worths == sorted(worths, reverse=True)
    firm = [rung for rung in ladder.rungs if rung.placement.n_seq_max <= ladder.comfortable]
    assert firm
    for better, worse in pairwise(firm):
        assert (
            worse.footprint.host_bytes < better.footprint.host_bytes
            or worse.footprint.device_bytes < better.footprint.device_bytes
        )


@given(LADDERS)
def test_what_a_rung_gives_up_is_what_its_placement_differs_in(ladder: Ladder) -> None:
    for rung in ladder.rungs:
        told = {one.what: one.got for one in rung.conceded}
        assert all(one.wanted != one.got and 0 < one.price <= 1 for one in rung.conceded)
        if Concession.PARALLEL in told:
            assert told[Concession.PARALLEL] == str(rung.placement.n_seq_max)
        if Concession.CONTEXT in told:
            assert told[Concession.CONTEXT] == str(rung.placement.n_ctx_seq)
        if Concession.UBATCH in told:
            assert told[Concession.UBATCH] == str(rung.placement.n_ubatch)
        assert len(told) == len(rung.conceded)


@given(MODELS, ACCELERATORS, LEAST_CONTEXTS)
def test_the_same_question_has_the_same_ladder(
    model: Contender, accelerator: Accelerator, least: int
) -> None:
    once = build(model, min_ctx=least, terms=terms(accelerator))
    assert build(model, min_ctx=least, terms=terms(accelerator)) == once


@given(
    st.sampled_from([CPU_PRICES, GPU_PRICES]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_giving_up_more_never_costs_less(prices: PriceTable, wanted: int, some: int, more: int) -> None:
    got, less = sorted((min(some, wanted), min(more, wanted)), reverse=True)
    assert prices.slots(wanted, less, comfortable=4) <= prices.slots(wanted, got, comfortable=4) <= 1
    assert prices.context(wanted, less) <= prices.context(wanted, got) <= 1
    assert prices.ubatch(wanted, less) <= prices.ubatch(wanted, got) <= 1
    assert prices.layers(1 - less / wanted) <= prices.layers(1 - got / wanted) <= 1
