from __future__ import annotations

import pytest

from appliance.planner.facts import Accelerator
from appliance.planner.prices import CPU_PRICES, GPU_PRICES, PriceTable, default_prices


def test_a_board_without_gpu_has_the_prices_measured_on_a_cpu() -> None:
    assert default_prices(Accelerator.NONE) is CPU_PRICES
    assert default_prices(Accelerator.UNIFIED) is default_prices(Accelerator.DISCRETE) is GPU_PRICES


def test_a_q8_cache_leaves_the_speed_of_three_times_the_prefill_and_1_4_times_the_decode() -> None:
    assert CPU_PRICES.q8_cache() == pytest.approx(1 / 2.2)
    only_decode = PriceTable(prefill_share=0.0, cache_decode=1.4)
    assert only_decode.q8_cache() == pytest.approx(1 / 1.4)


@pytest.mark.parametrize(
    ("wanted", "got", "left"),
    [
        (64, 64, 1.0),
        (64, 4, 1.01**-4),
        (64, 1, 1.01**-4 * 1.1**-2),
        (4, 2, 1 / 1.1),
        (2, 1, 1 / 1.1),
    ],
)
def test_slots_beyond_the_comfortable_ones_cost_nearly_nothing(wanted: int, got: int, left: float) -> None:
    assert CPU_PRICES.slots(wanted, got, comfortable=4) == pytest.approx(left)


@pytest.mark.parametrize(("got", "left"), [(4096, 1.0), (2048, 1 / 1.25), (1024, 1 / 1.25**2)])
def test_each_halving_of_the_context_costs_the_same(got: int, left: float) -> None:
    assert CPU_PRICES.context(4096, got) == pytest.approx(left)


@pytest.mark.parametrize(
    ("wanted", "got", "time"),
    [(512, 128, 1.0), (512, 64, 1.02), (512, 32, 1.13), (64, 32, 1.13 / 1.02), (100, 50, 1.13 / 1.02)],
)
def test_on_a_cpu_a_smaller_ubatch_costs_prefill_only_when_it_is_very_small(
    wanted: int, got: int, time: float
) -> None:
    assert CPU_PRICES.ubatch(wanted, got) == pytest.approx(1 / (0.5 * time + 0.5))


def test_without_a_table_ubatch_costs_nothing_and_below_it_as_much_as_its_dearest() -> None:
    assert PriceTable().ubatch(512, 32) == 1.0
    assert GPU_PRICES.ubatch(512, 16) == GPU_PRICES.ubatch(512, 32)


def test_layers_on_the_cpu_are_as_slow_as_its_memory() -> None:
    assert PriceTable(cpu_layer=8.0).layers(0.0) == 1.0
    assert PriceTable(cpu_layer=8.0).layers(1.0) == pytest.approx(1 / 8)
    assert PriceTable(cpu_layer=8.0).layers(0.5) == pytest.approx(1 / 4.5)
