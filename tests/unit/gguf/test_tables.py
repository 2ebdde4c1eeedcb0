"""The tables of types and architectures, against those of the `gguf` package."""

from __future__ import annotations

import gguf

from appliance.gguf.architectures import ARCHITECTURES, ENCODERS, HYBRID, RECURRENT
from appliance.gguf.quantization import FILE_TYPES
from appliance.gguf.tensor_types import REMOVED, TENSOR_TYPES
from appliance.gguf.values import ValueType

_OURS_ALONE = {42}
"""Q2_0 is newer in llama.cpp than the published package."""
_MISSIZED = {9}
"""Q8_1: the package counts 40 bytes, ggml-common.h has 36. Files never hold it."""


def test_tensor_types_have_ggmls_block_sizes() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    ours = {number: (one.block_items, one.block_bytes) for number, one in TENSOR_TYPES.items()}
    assert set(theirs) <= set(ours) <= set(theirs) | _OURS_ALONE
    assert {n: ours[n] for n in theirs if n not in _MISSIZED} == {
        n: sizes for n, sizes in theirs.items() if n not in _MISSIZED
    }


def test_tensor_types_have_ggmls_names() -> None:
    assert {number: one.name for number, one in TENSOR_TYPES.items() if number not in _OURS_ALONE} == {
        int(kind): kind.name for kind in gguf.GGMLQuantizationType
    }


def test_integers_and_intermediate_types_are_not_multiplied() -> None:
    assert {one.name for one in TENSOR_TYPES.values() if not one.multiplies} == {
        "Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64",
    }  # fmt: skip


def test_removed_types_are_no_types() -> None:
    assert not REMOVED & set(TENSOR_TYPES)


def test_value_types_have_the_packages_numbers() -> None:
    assert {kind.name: int(kind) for kind in ValueType} == {k.name: int(k) for k in gguf.GGUFValueType}


def test_file_types_have_the_packages_names() -> None:
    theirs = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
        for kind in gguf.LlamaFileType
        if kind is not gguf.LlamaFileType.GUESSED
    }
    assert {number: name for number, name in FILE_TYPES.items() if number != 41} == theirs


def test_every_architecture_of_the_package_is_known() -> None:
    assert set(gguf.MODEL_ARCH_NAMES.values()) - {"clip"} <= ARCHITECTURES


def test_families_are_architectures() -> None:
    assert RECURRENT | HYBRID | ENCODERS <= ARCHITECTURES
    assert not RECURRENT & HYBRID
