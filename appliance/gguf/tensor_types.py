"""The types of tensors: their numbers, names and block sizes, as in ggml.h and ggml-common.h."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class TensorType(Struct, frozen=True):
    """`block_bytes` bytes hold `block_items` numbers of one row."""

    number: int
    name: str
    block_items: int
    block_bytes: int
    multiplies: bool = True
    """Whether llama.cpp's CPU back end can multiply by a matrix of this type. It loads the others, and jumps
    to address zero when it computes with them.
    """


_TYPES: Final = (
    TensorType(0, "F32", 1, 4),
    TensorType(1, "F16", 1, 2),
    TensorType(2, "Q4_0", 32, 18),
    TensorType(3, "Q4_1", 32, 20),
    TensorType(6, "Q5_0", 32, 22),
    TensorType(7, "Q5_1", 32, 24),
    TensorType(8, "Q8_0", 32, 34),
    TensorType(9, "Q8_1", 32, 36, multiplies=False),
    TensorType(10, "Q2_K", 256, 84),
    TensorType(11, "Q3_K", 256, 110),
    TensorType(12, "Q4_K", 256, 144),
    TensorType(13, "Q5_K", 256, 176),
    TensorType(14, "Q6_K", 256, 210),
    TensorType(15, "Q8_K", 256, 292, multiplies=False),
    TensorType(16, "IQ2_XXS", 256, 66),
    TensorType(17, "IQ2_XS", 256, 74),
    TensorType(18, "IQ3_XXS", 256, 98),
    TensorType(19, "IQ1_S", 256, 50),
    TensorType(20, "IQ4_NL", 32, 18),
    TensorType(21, "IQ3_S", 256, 110),
    TensorType(22, "IQ2_S", 256, 82),
    TensorType(23, "IQ4_XS", 256, 136),
    TensorType(24, "I8", 1, 1, multiplies=False),
    TensorType(25, "I16", 1, 2, multiplies=False),
    TensorType(26, "I32", 1, 4, multiplies=False),
    TensorType(27, "I64", 1, 8, multiplies=False),
    TensorType(28, "F64", 1, 8, multiplies=False),
    TensorType(29, "IQ1_M", 256, 56),
    TensorType(30, "BF16", 1, 2),
    TensorType(34, "TQ1_0", 256, 54),
    TensorType(35, "TQ2_0", 256, 66),
    TensorType(39, "MXFP4", 32, 17),
    TensorType(40, "NVFP4", 64, 36),
    TensorType(41, "Q1_0", 128, 18),
    TensorType(42, "Q2_0", 64, 18),
)

TENSOR_TYPES: Final[Mapping[int, TensorType]] = MappingProxyType({one.number: one for one in _TYPES})

REMOVED: Final = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
"""Numbers that had a meaning once; llama.cpp refuses them."""
