"""In which layout llama.cpp's CPU back end holds a weight: as in the file, or copied into one that it multiplies
faster.

A copied weight is in memory a second time where the file is mapped, too. The rules are those of the pinned
llama.cpp (`ggml/src/ggml-cpu/repack.cpp`: type, rows, what the processor can) and of our own kernels
(`engine/llama/kernel_sources/buffer_type.cpp`). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.gguf.header import TensorInfo


class Layout(StrEnum):
    """By the name of ggml's buffer type."""

    PLAIN = "CPU"
    REPACK = "CPU_REPACK"
    INTERLEAVED = "CPU_INTERLEAVED"


Features = AbstractSet[str]
"""Of a processor, as ggml names them: avx2, avx512, neon, dotprod, matmul_int8, sve_256."""

FEATURES: Final = ("avx2", "avx512", "neon", "dotprod", "matmul_int8", "amx_int8", "riscv_v", "vxe")

_Rule = tuple[frozenset[str], int]
"""Features that are needed together, and what the number of rows is a multiple of then."""

_AVX2: Final = (frozenset({"avx2"}), 8)
_AVX512: Final = (frozenset({"avx512"}), 8)
_DOT_4: Final = (frozenset({"neon", "dotprod"}), 4)
_DOT_8: Final = (frozenset({"neon", "dotprod"}), 8)
_INT8_4: Final = (frozenset({"neon", "matmul_int8"}), 4)
_INT8_8: Final = (frozenset({"neon", "matmul_int8"}), 8)
_VXE: Final = (frozenset({"vxe"}), 4)

_REPACKED: Final[Mapping[str, tuple[_Rule, ...]]] = MappingProxyType(
    {
        "Q4_0": (_AVX2, _INT8_4, _DOT_4, _VXE),
        "Q4_K": (_AVX2, _INT8_8, _DOT_8),
        "Q2_K": (_AVX512,),
        "Q5_K": (_INT8_8, _DOT_8),
        "Q6_K": (_INT8_8, _DOT_8),
        "IQ4_NL": (_AVX2, _DOT_4),
        "MXFP4": (_AVX2, _DOT_4),
        "Q8_0": (_INT8_4, _DOT_4),
        "Q1_0": (_INT8_4, _DOT_4),
    }
)
_AMX: Final = frozenset({"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"})
"""Types of Intel's matrix unit, where llama.cpp was built for it."""
_RISCV: Final = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "Q8_0"})
_INTERLEAVED: Final = frozenset({"Q4_1", "Q8_0"})
_INTERLEAVED_ROWS: Final = 16
_LOOKED_UP: Final = (
    *("token_embd.", "per_layer_token_embd.", "position_embd.", "token_types.", "rope_freqs."),
    *("rope_factors",),
)
"""Rows are read by number, or values are added: nothing is multiplied."""


def layout_of(tensor: TensorInfo, cpu: Features, *, own_kernels: bool, is_output: bool = False) -> Layout:
    """`is_output`: of embeddings, as they stand in for an output layer that the file does not have."""
    if tensor.name.startswith(_LOOKED_UP) and not is_output:
        return Layout.PLAIN
    dimensions = _dimensions(tensor.shape)
    is_expert = dimensions == 3 and "_exps." in tensor.name
    if dimensions != 2 and not is_expert:
        return Layout.PLAIN
    rows, kind = tensor.shape[1], tensor.type.name
    if any(needed <= cpu and rows % multiple == 0 for needed, multiple in _REPACKED.get(kind, ())):
        return Layout.REPACK
    if own_kernels and not is_expert and kind in _INTERLEAVED and rows % _INTERLEAVED_ROWS == 0:
        return Layout.INTERLEAVED
    return Layout.PLAIN


def may_be_copied(type_name: str, cpu: Features, *, own_kernels: bool) -> bool:
    """Whether any weight of this type could be held in another layout: errs to the side of yes."""
    return (
        any(needed <= cpu for needed, _ in _REPACKED.get(type_name, ()))
        or ("amx_int8" in cpu and type_name in _AMX)
        or ("riscv_v" in cpu and type_name in _RISCV)
        or (own_kernels and type_name in _INTERLEAVED)
    )


def _dimensions(shape: tuple[int, ...]) -> int:
    """As ggml counts them: ones at the end do not count."""
    return max((index for index, length in enumerate(shape, 1) if length > 1), default=1)
