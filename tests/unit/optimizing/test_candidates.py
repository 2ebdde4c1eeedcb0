from __future__ import annotations

import pytest

from appliance.hardware.chip import Chip
from appliance.optimizing.candidates import candidates, fast_types, hint
from appliance.optimizing.standing import Standing


def on(*features: str, architecture: str = "x86_64", own_kernels: bool = False) -> Standing:
    chip = Chip(architecture=architecture, name="c", features=frozenset(features), cores=4)
    return Standing(chip=chip, build="b", own_kernels=own_kernels)


AVX2 = on("avx2", "fma", "f16c")
OWN = on("avx2", "fma", "f16c", own_kernels=True)
NEON = on("asimd", "asimddp", architecture="aarch64")
OLD = on("asimd", architecture="aarch64")


@pytest.mark.parametrize(
    ("quantization", "standing", "expected"),
    [
        ("Q4_1", AVX2, ("q8_0", "q4_0", "iq4_nl")),
        ("Q4_1", OWN, ("q8_0", "q4_0", "iq4_nl")),
        ("Q4_1", NEON, ("q8_0", "q4_0", "iq4_nl")),
        ("Q5_1", AVX2, ("q8_0",)),
        ("F16", AVX2, ("q8_0",)),
        ("BF16", NEON, ("q8_0",)),
        ("Q4_0", AVX2, ()),
        ("Q8_0", NEON, ()),
        ("Q8_0", OWN, ()),
        ("Q4_K_M", AVX2, ()),
        ("Q6_K", AVX2, ("q8_0",)),
        ("Q6_K", NEON, ()),
        ("Q4_1", OLD, ()),
        ("F16", OLD, ()),
        (None, AVX2, ()),
    ],
)
def test_what_is_worth_a_try_follows_from_the_weights_and_the_chip(
    quantization: str | None, standing: Standing, expected: tuple[str, ...]
) -> None:
    assert candidates(quantization, standing) == expected


def test_nobody_is_told_of_gains_where_our_own_kernels_make_the_type_fast() -> None:
    assert hint("Q4_1", OWN) is None
    assert hint("Q4_1", AVX2) == "Q4_1 has no fast layout on this chip, Q8_0 or Q4_0 or IQ4_NL has"


@pytest.mark.parametrize("quantization", ["Q4_0", "Q8_0", "Q4_K_S", None, "nonsense with spaces"])
def test_nobody_is_told_of_gains_that_there_are_not(quantization: str | None) -> None:
    assert hint(quantization, NEON) is None or quantization == "nonsense with spaces"


def test_a_chip_without_the_instructions_has_no_fast_type() -> None:
    assert fast_types(OLD) == frozenset()
    assert "Q2_K" in fast_types(on("avx2", "avx512f"))
