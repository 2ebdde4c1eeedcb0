"""Sizes from a header alone: the rules, family by family, and that they follow the engine's."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine import context_shape, speculation
from appliance.engine.slots import choose_slots
from appliance.gguf.header import Header, read_header
from appliance.gguf.layouts import Layout
from appliance.gguf.shape import ModelShape, read_shape
from appliance.planner import formulas
from appliance.planner.cache import CacheShape, cache_bytes, sliding_layers
from appliance.wire.messages import Placement
from tests.fakes.ghost_models import GHOSTS, Dense, dense, write_ghost

MIB = 1024 * 1024
X86 = frozenset({"avx2", "avx512"})
PI_5 = frozenset({"neon", "dotprod"})
ORIN_NANO = frozenset({"neon", "dotprod"})


def header_of(name: str, folder: Path) -> Header:
    return read_header(write_ghost(folder, name))


def header_like(model: Dense, folder: Path) -> Header:
    made = dense(model)
    path = folder / "like.gguf"
    with path.open("wb") as file:
        file.write(made.header)
        file.truncate(made.file_bytes)
    return read_header(path)


def context(n_ctx_seq: int = 8192, n_slots: int = 1, **options: str | int) -> CacheShape:
    return CacheShape(
        n_ctx_seq=n_ctx_seq,
        n_slots=n_slots,
        n_ubatch=int(options.get("n_ubatch", 512)),
        n_outputs=n_slots,
        type_k=str(options.get("type_k", "f16")),
        type_v=str(options.get("type_v", options.get("type_k", "f16"))),
    )


@pytest.mark.parametrize(
    ("name", "expected_bytes"),
    [
        ("llama-3.2-1b", 8192 * 16 * 2 * 8 * 64 * 2),
        ("qwen2.5-7b", 448 * MIB),
        ("deepseek-v2-lite", 243 * MIB),
        ("lfm2-1.2b", 96 * MIB + 10 * 2048 * 2 * 4),
        ("mamba-130m", 24 * (3 * 1536 + 16 * 1536) * 4),
        ("bge-small", 0),
    ],
)
def test_caches_of_8192_tokens(name: str, expected_bytes: int, tmp_path: Path) -> None:
    assert cache_bytes(header_of(name, tmp_path), context()) == expected_bytes


@pytest.mark.parametrize(("kind", "expected_mib"), [("f16", 448), ("q8_0", 238), ("q4_0", 126)])
def test_a_quantised_cache_takes_its_blocks(kind: str, expected_mib: int, tmp_path: Path) -> None:
    assert cache_bytes(header_of("qwen2.5-7b", tmp_path), context(type_k=kind)) == expected_mib * MIB


def test_keys_and_values_may_have_two_types(tmp_path: Path) -> None:
    header = header_of("qwen2.5-7b", tmp_path)
    assert cache_bytes(header, context(type_k="q8_0", type_v="f16")) == (224 + 119) * MIB


def test_a_window_and_a_pass_are_kept_and_no_more(tmp_path: Path) -> None:
    header = header_of("gemma-3-4b", tmp_path)
    slides = sliding_layers(header, read_shape(header))
    assert [index for index, one in enumerate(slides) if not one] == [5, 11, 17, 23, 29]
    row_bytes = 2 * 4 * 256 * 2
    assert cache_bytes(header, context(32_768)) == row_bytes * (5 * 32_768 + 29 * 1536) == 814 * MIB
    assert cache_bytes(header, context(32_768, n_ubatch=128)) == row_bytes * (5 * 32_768 + 29 * 1280)


def test_a_context_shorter_than_the_window_has_no_other_cells(tmp_path: Path) -> None:
    assert cache_bytes(header_of("gemma-3-4b", tmp_path), context(512)) == 2 * 4 * 256 * 2 * 34 * 512


def test_a_window_that_llama_cpp_does_not_use_saves_nothing(tmp_path: Path) -> None:
    header = header_of("phi-3-mini", tmp_path)
    assert not any(sliding_layers(header, read_shape(header)))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"attention.sliding_window": 512, "attention.sliding_window_pattern": 2}, [True, False] * 2),
        ({"attention.sliding_window": 512, "attention.sliding_window_pattern": (1, 1, 0, 1)}, None),
        ({"attention.sliding_window_pattern": 2}, [False] * 4),
    ],
)
def test_which_layers_slide_is_what_the_file_says(
    more: dict[str, int | tuple[int, ...]], expected: list[bool] | None, tmp_path: Path
) -> None:
    model = Dense(
        architecture="gemma3",
        n_layer=4,
        n_embd=64,
        n_head=2,
        n_head_kv=2,
        n_ff=64,
        n_vocab=32,
        kind="F16",
        more=more,
    )
    header = header_like(model, tmp_path)
    assert sliding_layers(header, read_shape(header)) == (expected or [True, True, False, True])


def test_every_slot_has_its_stream_rounded_up_to_256_cells(tmp_path: Path) -> None:
    header = header_of("llama-3.2-1b", tmp_path)
    assert cache_bytes(header, context(300, 3)) == cache_bytes(header, context(512, 3))
    assert cache_bytes(header, context(512, 3)) == 3 * cache_bytes(header, context(512, 1))


def test_what_stands_in_for_the_output_is_there_twice_only_in_another_layout(tmp_path: Path) -> None:
    header = header_of("qwen3-4b", tmp_path)
    embeddings = next(one.size_bytes for one in header.tensors if one.name == "token_embd.weight")
    total = sum(one.size_bytes for one in header.tensors)
    assert sum(formulas.weights_bytes([header], frozenset(), own_kernels=False).values()) == total
    on_pi = formulas.weights_bytes([header], PI_5)
    assert sum(on_pi.values()) == total + embeddings
    assert on_pi[Layout.REPACK] > 0
    assert Layout.INTERLEAVED not in on_pi


def test_layouts_are_those_of_the_board_that_is_planned_for(tmp_path: Path) -> None:
    header = header_of("mistral-7b", tmp_path)
    on_x86 = formulas.context_size([header], Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=0), cpu=X86)
    on_orin = formulas.context_size(
        [header], Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=0), cpu=ORIN_NANO
    )
    assert on_x86.is_mapped, "nothing multiplies Q5_K faster there"
    assert not on_orin.is_mapped
    assert [buffer.type for buffer in on_orin.buffers] == ["CPU", "CPU_REPACK"]


@pytest.mark.parametrize("name", GHOSTS)
def test_a_footprint_grows_with_everything_that_is_asked_for(name: str, tmp_path: Path) -> None:
    header = header_of(name, tmp_path)

    def total(n_ctx_seq: int, n_seq_max: int, n_ubatch: int) -> int:
        placement = Placement(n_ctx_seq=n_ctx_seq, n_seq_max=n_seq_max, kv_cells=0, n_ubatch=n_ubatch)
        return formulas.footprint([header], placement, cpu=X86).total_bytes

    base = total(512, 1, 128)
    assert total(4096, 1, 128) >= base
    assert total(512, 4, 128) > base
    assert total(512, 1, 512) >= base


def test_a_draft_model_is_counted_where_drafts_are_made(tmp_path: Path) -> None:
    header = header_of("llama-3.2-1b", tmp_path)
    placement = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=0)
    beside = formulas.footprint([header], placement, cpu=X86, draft=header)
    alone = formulas.footprint([header], placement, cpu=X86)
    without = formulas.footprint([header], placement, cpu=X86, draft=header, speculation=False)
    assert beside.weights_bytes == 2 * alone.weights_bytes
    assert without.weights_bytes == alone.weights_bytes


def test_a_difference_is_told_in_words(tmp_path: Path) -> None:
    header = header_of("llama-3.2-1b", tmp_path)
    placement = Placement(n_ctx_seq=512, n_seq_max=1, kv_cells=0)
    other = Placement(n_ctx_seq=4096, n_seq_max=1, kv_cells=0)
    size = formulas.context_size([header], placement, cpu=X86)
    assert formulas.differences([header], placement, size, cpu=X86) == []
    (told,) = formulas.differences([header], other, size, cpu=X86)[:1]
    assert told == "cache: 16777216 bytes by the dry run, 134217728 by formulas"


# ── the same rule as the engine's ───────────────────────────────────────────────────────────────────────────


def test_the_engines_numbers_are_known() -> None:
    assert formulas._DRAFT_TOKENS == speculation.DRAFT_TOKENS_PER_STEP
    assert formulas._MOST_DRAFT == speculation.MAX_DRAFT
    assert formulas._N_BATCH == context_shape.N_BATCH


@given(
    n_ctx_seq=st.integers(0, 10_000),
    n_seq_max=st.integers(1, 100),
    kv_cells=st.integers(0, 100_000),
    n_ubatch=st.integers(32, 2048),
    speculates=st.booleans(),
)
def test_a_pass_is_as_the_engine_shapes_it(
    n_ctx_seq: int, n_seq_max: int, kv_cells: int, n_ubatch: int, *, speculates: bool
) -> None:
    placement = Placement(
        n_ctx_seq=n_ctx_seq, n_seq_max=n_seq_max, kv_cells=kv_cells, n_ubatch=n_ubatch, pooling="none"
    )
    n_slots = n_seq_max
    if kv_cells:
        n_slots = choose_slots(
            wanted=n_seq_max,
            n_ctx_seq=context_shape.n_ctx_seq(placement, 4096),
            kv_cells=kv_cells,
            bytes_per_cell=0,
            available_bytes=None,
        )
    theirs = context_shape.generator_shape(
        placement, n_ctx_train=4096, n_slots=n_slots, speculates=speculates
    )
    ours = formulas.pass_of(_SHAPE, placement, speculates=speculates, is_draft=False)
    assert (ours.n_ctx_seq, ours.n_slots, ours.n_outputs, ours.n_ubatch) == (
        theirs.n_ctx_seq,
        theirs.n_slots,
        theirs.n_outputs,
        theirs.n_ubatch,
    )


def _shape_of_4096() -> ModelShape:
    with TemporaryDirectory() as folder:
        return read_shape(header_of("phi-3-mini", Path(folder)))


_SHAPE = _shape_of_4096()
