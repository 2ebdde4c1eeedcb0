"""The whole course, against boards that are only said to be."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.calibrating.course import course
from appliance.calibrating.outline import outline
from appliance.calibrating.values import Axis, AxisFound, Choice, Findings, Order, Setup
from appliance.errors import EngineFault
from appliance.wire.calibrate import Kind
from tests.fakes.calibrating import PLACEMENT, FakeBoard, wish


def of(found: Findings, axis: Axis) -> AxisFound:
    return next(one for one in found.axes if one.axis is axis)


def threads(order: Order) -> int:
    return order.setup.placement.n_threads or 3


def big_and_little(order: Order) -> float:
    """Two big cores: a third thread waits for a little one."""
    return {1: 60.0, 2: 110.0, 3: 45.0, 4: 30.0}[threads(order)] * math.sqrt(order.piece.width)


def test_where_everything_is_alike_the_defaults_stay() -> None:
    found = FakeBoard(noise=0.02).run(course(wish()))
    assert found.choice == Choice()
    assert [one.kept == one.default for one in found.axes] == [True] * 6
    assert [one.axis for one in found.axes] == [
        Axis.THREADS,
        Axis.UBATCH,
        Axis.FLASH_ATTENTION,
        Axis.LAYOUT,
        Axis.CACHE,
        Axis.LOAD,
    ]


def test_fewer_threads_are_chosen_where_they_are_faster() -> None:
    found = FakeBoard(speed=big_and_little, noise=0.05).run(course(wish()))
    assert found.choice.n_threads == 2
    axis = of(found, Axis.THREADS)
    assert (axis.default, axis.kept) == ("threads 3", "threads 2")
    assert {row.label: row.rounds >= 3 for row in axis.rows}["threads 2"]
    assert {row.label for row in axis.rows} == {"threads 1", "threads 2", "threads 3", "threads 4"}


def test_what_is_best_on_one_axis_is_the_base_of_the_next() -> None:
    board = FakeBoard(speed=big_and_little)
    board.run(course(wish()))
    later = [order for order in board.orders if order.axis is not Axis.THREADS]
    assert {order.setup.placement.n_threads for order in later} == {2}


def test_threads_are_not_judged_while_others_compute() -> None:
    found = FakeBoard(speed=big_and_little, others_share=0.5).run(course(wish()))
    assert found.choice.n_threads is None
    assert of(found, Axis.THREADS).text.startswith("not decided: others computed 50% of the time")


def test_while_others_compute_the_rest_is_measured_with_the_threads_they_leave() -> None:
    board = FakeBoard(speed=big_and_little, others_share=0.5)
    board.run(course(wish()))
    later = [order for order in board.orders if order.axis is not Axis.THREADS]
    assert {order.setup.placement.n_threads for order in later} == {2}


def test_prices_are_not_learned_while_others_compute() -> None:
    assert FakeBoard(speed=lambda _: 1000.0).run(course(wish())).cache is not None
    found = FakeBoard(speed=lambda _: 1000.0, others_share=0.3).run(course(wish()))
    assert (found.cache, found.ubatch) == (None, ())


def test_flash_attention_that_costs_is_left_out() -> None:
    """Twice the time of a prefill on some ARM servers."""

    def speed(order: Order) -> float:
        return 100.0 if order.setup.placement.flash_attention == "off" else 60.0

    assert FakeBoard(speed=speed, noise=0.03).run(course(wish())).choice.flash_attention == "off"


def test_layouts_that_are_slower_are_left_out() -> None:
    def speed(order: Order) -> float:
        if not order.setup.placement.repack:
            return 130.0
        return 100.0 if order.setup.own_kernels else 90.0

    found = FakeBoard(speed=speed, noise=0.03).run(course(wish()))
    assert (found.choice.repack, found.choice.own_kernels) == (False, None)
    assert of(found, Axis.LAYOUT).kept == "as in the file"


def test_own_kernels_that_are_slower_are_left_out() -> None:
    def speed(order: Order) -> float:
        return 100.0 if order.setup.own_kernels else 140.0

    found = FakeBoard(speed=speed).run(course(wish()))
    assert (found.choice.repack, found.choice.own_kernels) == (None, False)


def test_a_larger_ubatch_is_chosen_and_smaller_ones_have_their_price() -> None:
    def speed(order: Order) -> float:
        return {64: 500.0, 128: 800.0, 256: 1000.0, 512: 1000.0, 1024: 1200.0}[order.setup.placement.n_ubatch]

    found = FakeBoard(speed=speed, overhead_s=0.01).run(course(wish()))
    assert found.choice.n_ubatch is None or found.choice.n_ubatch == 1024
    prices = dict(found.ubatch)
    assert prices[64] == pytest.approx(2 * prices[256], rel=0.05)


def test_a_load_that_saves_little_does_not_give_memory_up() -> None:
    def speed(order: Order) -> float:
        if order.piece.kind is Kind.LOAD:
            return 1 / 0.5 if order.setup.placement.use_mmap else 1 / 0.4
        return 100.0

    found = FakeBoard(speed=speed).run(course(wish()))
    assert found.choice.use_mmap is None
    assert of(found, Axis.LOAD).text.startswith("0.10 s faster: too little")


def test_a_file_that_loads_slowly_from_its_map_is_read() -> None:
    def speed(order: Order) -> float:
        if order.piece.kind is Kind.LOAD:
            return 1 / 0.8 if order.setup.placement.use_mmap else 1 / 0.4
        return 100.0

    assert FakeBoard(speed=speed).run(course(wish())).choice.use_mmap is False


def test_what_is_copied_is_not_loaded_for_a_comparison() -> None:
    board = FakeBoard(is_mapped=False)
    found = board.run(course(wish()))
    assert of(found, Axis.LOAD).kept == "read"
    assert not any(order.piece.kind is Kind.LOAD for order in board.orders)


def test_what_the_operator_has_set_stays() -> None:
    settled = frozenset({Axis.THREADS, Axis.UBATCH, Axis.FLASH_ATTENTION})
    placement = msgspec.structs.replace(PLACEMENT, n_threads=4, n_ubatch=64, flash_attention="on")

    def speed(order: Order) -> float:
        chosen = order.setup.placement
        return 50.0 if (chosen.n_ubatch, chosen.flash_attention) == (64, "on") else 200.0

    found = FakeBoard(speed=speed).run(
        course(wish(setup=Setup(placement=placement, own_kernels=True), settled=settled))
    )
    assert (found.choice.n_threads, found.choice.n_ubatch, found.choice.flash_attention) == (None, None, None)


def test_a_setup_that_fails_is_left_out_and_says_why() -> None:
    def faults(order: Order) -> str | None:
        return "it ended: SIGILL" if not order.setup.placement.repack else None

    found = FakeBoard(faults=faults).run(course(wish()))
    row = next(row for row in of(found, Axis.LAYOUT).rows if row.label == "as in the file")
    assert (row.text, row.rounds) == ("it ended: SIGILL", 0)


def test_a_model_that_cannot_be_measured_at_all_is_an_error() -> None:
    with pytest.raises(EngineFault, match="nothing can be measured: it ended"):
        FakeBoard(faults=lambda _: "it ended").run(course(wish()))


def test_joules_are_told_where_a_rail_tells() -> None:
    found = FakeBoard(joules_per_s=7.0).run(course(wish()))
    row = of(found, Axis.THREADS).rows[0]
    assert row.joules_per_token["decode"] == pytest.approx(0.07)
    silent = FakeBoard().run(course(wish()))
    assert of(silent, Axis.THREADS).rows[0].joules_per_token == {}


def test_power_modes_are_shown_and_never_chosen() -> None:
    modes = {0: "15W", 1: "25W", 2: "MAXN_SUPER"}

    def speed(order: Order) -> float:
        return {None: 100.0, 0: 100.0, 1: 140.0, 2: 150.0}[order.setup.power_mode]

    board = FakeBoard(speed=speed, joules_per_s=10.0)
    found = board.run(course(wish(power_modes=modes, power_mode=0)))
    axis = of(found, Axis.POWER)
    assert (axis.default, axis.kept) == ("15W", "15W")
    assert [row.label for row in axis.rows] == ["15W", "25W", "MAXN_SUPER"]
    assert all(row.rounds >= 1 and row.joules_per_token for row in axis.rows)


def test_a_board_without_power_modes_says_so() -> None:
    found = FakeBoard().run(course(wish(power_why_not="this board has no power modes")))
    assert of(found, Axis.POWER).text == "this board has no power modes"


def test_one_core_has_no_threads_to_choose_from() -> None:
    found = FakeBoard(default_threads=1).run(course(wish(usable_cores=1)))
    assert of(found, Axis.THREADS).text == "one core"


@settings(deadline=None, max_examples=15)
@given(
    rate=st.floats(min_value=0.5, max_value=20_000),
    limit_s=st.floats(min_value=5, max_value=300),
    noise=st.floats(min_value=0, max_value=0.8),
    window=st.integers(min_value=16, max_value=4096),
    seed=st.integers(0, 100),
)
def test_it_ends_in_time_whatever_the_speed(
    rate: float, limit_s: float, noise: float, window: int, seed: int
) -> None:
    board = FakeBoard(speed=lambda _: rate, noise=noise, window=window, seed=seed)
    found = board.run(course(wish(limit_s=limit_s)))
    # The longest piece may begin at the last moment: a first look of 32 tokens, or a chunk of 128.
    assert found.spent_s <= limit_s + 2 * 128 / (rate * (1 - noise)) + 1.0
    known = board.orders[2:]  # how long a context may be, the first look tells
    assert all(order.piece.start + order.piece.tokens <= window for order in known)


@settings(deadline=None, max_examples=15)
@given(noise=st.floats(min_value=0, max_value=0.3), seed=st.integers(0, 1000))
def test_noise_alone_hardly_ever_changes_anything_and_never_for_the_worse(noise: float, seed: int) -> None:
    """Candidates here are a fifth slower."""

    def speed(order: Order) -> float:
        setup = order.setup
        is_default = (
            setup.placement.n_threads in {0, 3}
            and setup.placement.n_ubatch == 512
            and setup.placement.flash_attention == "auto"
            and setup.placement.repack
            and setup.own_kernels
        )
        return 200.0 if is_default else 160.0

    found = FakeBoard(speed=speed, noise=noise / 3, seed=seed).run(course(wish()))
    assert found.choice == Choice()


def test_the_outline_names_what_would_be_measured() -> None:
    told = {one.axis: one for one in outline(wish())}
    assert told[Axis.THREADS].setups == ("threads 1", "threads 2", "threads 3", "threads 4")
    assert told[Axis.LAYOUT].setups == ("repacked, own kernels", "repacked by llama.cpp", "as in the file")
    assert [one.until_s for one in told.values()] == sorted(one.until_s for one in told.values())
    assert max(one.until_s for one in told.values()) < 60
