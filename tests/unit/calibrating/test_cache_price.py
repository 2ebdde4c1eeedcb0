from __future__ import annotations

import pytest

from appliance.calibrating.cache_price import Chunk, Measured, cache_prices


def measured(
    base_s: float, slope_s: float, *, to: int = 1024, decode_slope_s: float | None = None
) -> Measured:
    """Time of a token: base + slope x depth."""
    late_s = slope_s if decode_slope_s is None else decode_slope_s
    prefill = [
        Chunk(start=start, tokens=128, seconds=128 * (base_s + slope_s * (start + 64)))
        for start in range(0, to, 128)
    ]
    decode = [Chunk(start=start, tokens=4, seconds=4 * (base_s + late_s * (start + 2))) for start in (8, to)]
    return Measured(prefill=prefill, decode=decode)


def test_the_price_is_that_of_the_depth_that_the_planner_asks_about() -> None:
    found = cache_prices(measured(0.001, 0.0), measured(0.001, 1e-6, decode_slope_s=2e-7))
    assert found is not None
    # (0.001 + 1e-6 x 1750) / 0.001, and (0.001 + 2e-7 x 3500) / 0.001
    assert (found.prefill, found.decode, found.depth_tokens) == (2.75, 1.7, 1024)


def test_a_cache_that_is_faster_costs_nothing() -> None:
    found = cache_prices(measured(0.001, 1e-6), measured(0.0009, 1e-7))
    assert found is not None
    assert (found.prefill, found.decode) == (1.0, 1.0)


def test_one_chunk_that_others_disturbed_turns_no_line() -> None:
    small = measured(0.001, 1e-6)
    spoilt = Chunk(start=256, tokens=128, seconds=9.0)
    prefill = [spoilt if chunk.start == 256 else chunk for chunk in small.prefill]
    found = cache_prices(measured(0.001, 0.0), Measured(prefill=prefill, decode=small.decode))
    assert found is not None
    assert found.prefill == pytest.approx(2.75, rel=0.05)


@pytest.mark.parametrize(
    ("plain", "small"),
    [
        (measured(0.001, 1e-6, to=512), measured(0.001, 1e-6, to=512)),
        (measured(0.001, 1e-6, to=2048), measured(0.001, 1e-6, to=384)),
        (Measured(prefill=(), decode=()), Measured(prefill=(), decode=())),
        (measured(0.001, 0.0), Measured(prefill=measured(0.001, 0.0).prefill, decode=())),
    ],
)
def test_too_little_is_no_price(plain: Measured, small: Measured) -> None:
    assert cache_prices(plain, small) is None
