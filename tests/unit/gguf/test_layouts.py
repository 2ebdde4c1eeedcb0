"""Which weights are copied into another layout, on which processor."""

from __future__ import annotations

from math import prod

import pytest

from appliance.gguf.header import TensorInfo
from appliance.gguf.layouts import Layout, layout_of, may_be_copied
from appliance.gguf.tensor_types import TENSOR_TYPES

TYPES = {one.name: one for one in TENSOR_TYPES.values()}
X86 = {"avx2", "avx512"}
PI_5 = {"neon", "dotprod"}
ORIN = {"neon", "dotprod"}
M4 = {"neon", "dotprod", "matmul_int8"}
PI_4 = {"neon"}


def tensor(kind: str, *shape: int, name: str = "blk.0.ffn_up.weight") -> TensorInfo:
    elements = prod(shape)
    size = elements // TYPES[kind].block_items * TYPES[kind].block_bytes
    return TensorInfo(name, shape, TYPES[kind], 0, elements, size)


@pytest.mark.parametrize(
    ("kind", "cpu", "expected"),
    [
        ("Q4_0", X86, Layout.REPACK),
        ("Q4_0", PI_5, Layout.REPACK),
        ("Q4_0", PI_4, Layout.PLAIN),
        ("Q4_K", X86, Layout.REPACK),
        ("Q4_K", ORIN, Layout.REPACK),
        ("Q2_K", X86, Layout.REPACK),
        ("Q2_K", {"avx2"}, Layout.PLAIN),
        ("Q6_K", X86, Layout.PLAIN),
        ("Q6_K", M4, Layout.REPACK),
        ("Q8_0", PI_5, Layout.REPACK),
        ("Q8_0", X86, Layout.INTERLEAVED),
        ("Q4_1", X86, Layout.INTERLEAVED),
        ("F16", X86, Layout.PLAIN),
        ("Q5_K", X86, Layout.PLAIN),
    ],
)
def test_a_matrix_is_held_as_its_type_and_the_processor_want(
    kind: str, cpu: set[str], expected: Layout
) -> None:
    assert layout_of(tensor(kind, 512, 256), cpu, own_kernels=True) is expected


def test_without_our_kernels_nothing_is_interleaved() -> None:
    assert layout_of(tensor("Q4_1", 512, 256), X86, own_kernels=False) is Layout.PLAIN


@pytest.mark.parametrize(
    ("kind", "rows", "cpu", "expected"),
    [
        ("Q4_0", 260, X86, Layout.PLAIN),
        ("Q4_0", 260, PI_5, Layout.REPACK),
        ("Q4_1", 264, X86, Layout.PLAIN),
        ("Q4_1", 272, X86, Layout.INTERLEAVED),
    ],
)
def test_rows_must_make_whole_groups(kind: str, rows: int, cpu: set[str], expected: Layout) -> None:
    assert layout_of(tensor(kind, 512, rows), cpu, own_kernels=True) is expected


def test_what_is_looked_up_stays_as_it_is_unless_it_stands_in_for_the_output() -> None:
    embeddings = tensor("Q4_0", 512, 256, name="token_embd.weight")
    assert layout_of(embeddings, X86, own_kernels=True) is Layout.PLAIN
    assert layout_of(embeddings, X86, own_kernels=True, is_output=True) is Layout.REPACK


def test_experts_are_repacked_and_never_interleaved() -> None:
    assert (
        layout_of(tensor("Q4_K", 512, 256, 8, name="blk.0.ffn_up_exps.weight"), X86, own_kernels=True)
        is Layout.REPACK
    )
    assert (
        layout_of(tensor("Q8_0", 512, 256, 8, name="blk.0.ffn_up_exps.weight"), X86, own_kernels=True)
        is Layout.PLAIN
    )


def test_three_dimensions_that_are_no_experts_and_single_rows_stay_as_they_are() -> None:
    split = tensor("Q4_0", 512, 128, 16, name="blk.0.attn_k_b.weight")
    assert layout_of(split, X86, own_kernels=True) is Layout.PLAIN
    assert layout_of(tensor("F32", 512, name="blk.0.attn_norm.weight"), X86, own_kernels=True) is Layout.PLAIN


@pytest.mark.parametrize("kind", sorted(TYPES))
@pytest.mark.parametrize("cpu", [X86, PI_5, M4, PI_4, set()], ids=["x86", "pi5", "m4", "pi4", "none"])
def test_what_is_held_in_another_layout_may_be_copied(kind: str, cpu: set[str]) -> None:
    """So a file is never mapped while its weights are copied."""
    block = TYPES[kind].block_items
    layout = layout_of(tensor(kind, 2 * max(block, 32), 256), cpu, own_kernels=True)
    assert layout is Layout.PLAIN or may_be_copied(kind, cpu, own_kernels=True)
