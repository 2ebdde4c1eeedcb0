"""Against sizes that llama.cpp told of ghosts of the same dimensions (CPU build, MiB of KV cells)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gguf.shape import ModelShape, read_shape, weight_bytes
from appliance.planner import formulas
from appliance.planner.facts import Accelerator, Footprint
from appliance.planner.guess import VOCABULARY_BYTES, guessed_header, parameters_of
from appliance.planner.header_sizes import Model, header_size, traits_of
from appliance.planner.speed import bytes_per_token, decode_bound
from appliance.wire.messages import Placement
from tests.fakes import ghost_headers as ghosts
from tests.fakes.ghost_headers import Dimensions, ghost_header

MIB = 1 << 20


def shape_of(model: Dimensions) -> ModelShape:
    return read_shape(ghost_header(model))


def placed(
    n_ctx: int, slots: int = 1, cache: str = "f16", *, n_ubatch: int = 512, n_gpu_layers: int = 0
) -> Placement:
    return Placement(
        n_ctx_seq=n_ctx,
        n_seq_max=slots,
        kv_cells=n_ctx * slots,
        n_ubatch=n_ubatch,
        n_gpu_layers=n_gpu_layers,
        type_k=cache,
        type_v=cache,
    )


@pytest.mark.parametrize(
    ("model", "n_ctx", "cache", "mib"),
    [
        (ghosts.LLAMA_8B, 8192, "f16", 1024),
        (ghosts.LLAMA_8B, 8192, "q8_0", 544),
        (ghosts.LLAMA_8B, 8192, "q4_0", 288),
        (ghosts.QWEN_7B, 8192, "f16", 448),
        (ghosts.SMOLLM_135M, 4096, "f16", 90),
    ],
    ids=lambda value: value.architecture if isinstance(value, Dimensions) else value,
)
def test_the_cache_is_what_llama_cpp_allocates(model: Dimensions, n_ctx: int, cache: str, mib: int) -> None:
    assert sized(model, placed(n_ctx, cache=cache)).cache_bytes == mib * MIB


def test_layers_with_a_window_keep_the_window_and_what_is_computed_at_once() -> None:
    """Gemma 3, 32,768 tokens: 814 MiB with a sliding cache of 1,536 cells, 4,352 without."""
    assert round(sized(ghosts.GEMMA_4B, placed(32_768)).cache_bytes / MIB) == 814


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [(ghosts.LLAMA_8B, 4.92), (ghosts.LLAMA_3B, 2.02), (ghosts.QWEN_7B, 4.68), (ghosts.GEMMA_4B, 2.49)],
    ids=lambda value: value.architecture if isinstance(value, Dimensions) else value,
)
def test_ghosts_weigh_what_the_published_files_do(model: Dimensions, gigabytes: float) -> None:
    assert weight_bytes(ghost_header(model)) == pytest.approx(gigabytes * 1e9, rel=0.01)


@pytest.mark.parametrize(
    "model",
    [ghosts.LLAMA_8B, ghosts.LLAMA_3B, ghosts.GEMMA_4B, ghosts.MIXTRAL, ghosts.SMOLLM_135M],
    ids=["llama-8b", "llama-3b", "gemma-4b", "mixtral", "smollm"],
)
def test_many_placements_at_once_are_what_the_formulas_say_of_each(model: Dimensions) -> None:
    header, arm = ghost_header(model), frozenset({"neon", "dotprod"})
    wishes = [
        placed(n_ctx, slots, cache, n_ubatch=ubatch)
        for n_ctx in (300, 4096)
        for slots in (1, 3, 64)
        for cache in ("f16", "q8_0")
        for ubatch in (32, 512)
    ]
    told = header_size(Model(header=header), Accelerator.NONE, cpu=arm)(wishes)
    assert told == [formulas.footprint([header], wish, cpu=arm) for wish in wishes]


def test_a_model_that_pools_is_sized_as_the_formulas_say() -> None:
    header, wish = ghost_header(ghosts.SMOLLM_135M), placed(512, 4)
    pooling = msgspec.structs.replace(wish, pooling="mean")
    told = header_size(Model(header=header), Accelerator.NONE)([pooling])
    assert told == [formulas.footprint([header], pooling, cpu=frozenset())]


def sized(model: Dimensions, placement: Placement, accelerator: Accelerator = Accelerator.NONE) -> Footprint:
    return header_size(Model(header=ghost_header(model)), accelerator)([placement])[0]


def test_the_total_is_the_sum_and_on_unified_memory_nothing_is_the_gpus_alone() -> None:
    taken = sized(ghosts.LLAMA_8B, placed(4096, n_gpu_layers=-1), Accelerator.UNIFIED)
    assert taken.device_bytes == 0
    assert taken.host_bytes == taken.total_bytes > weight_bytes(ghost_header(ghosts.LLAMA_8B))
    on_cpu = sized(ghosts.LLAMA_8B, placed(4096), Accelerator.UNIFIED)
    assert taken.process_bytes - on_cpu.process_bytes == 400 * MIB  # the driver's


def test_a_gpu_with_its_own_memory_holds_the_part_of_the_layers_that_it_has() -> None:
    halves = [
        sized(ghosts.LLAMA_8B, placed(4096, n_gpu_layers=layers), Accelerator.DISCRETE)
        for layers in (0, 16, 33)
    ]
    assert halves[0].device_bytes == 0 < halves[1].device_bytes < halves[2].device_bytes
    assert halves[2].host_bytes < halves[0].host_bytes


def test_traits_tell_which_caches_can_be_quantised() -> None:
    assert traits_of(shape_of(ghosts.LLAMA_8B)).quantizes_cache
    odd = Dimensions(
        architecture="phi2", n_layer=2, n_embd=2560, n_ff=1024, n_head=32, n_head_kv=32, head=80,
        n_vocab=1000, n_ctx_train=2048,
    )  # fmt: skip
    assert not traits_of(shape_of(odd)).quantizes_cache


@given(
    st.sampled_from([ghosts.LLAMA_8B, ghosts.GEMMA_4B, ghosts.MIXTRAL]),
    st.integers(1, 200_000),
    st.integers(1, 64),
    st.sampled_from([32, 128, 512]),
    st.sampled_from(list(Accelerator)),
)
def test_less_of_anything_never_takes_more(
    model: Dimensions, n_ctx: int, slots: int, ubatch: int, accelerator: Accelerator
) -> None:
    header = ghost_header(model)
    size = header_size(Model(header=header), accelerator)
    wish = placed(n_ctx, slots, n_ubatch=ubatch, n_gpu_layers=-1)
    smaller = [
        placed(max(1, n_ctx - 300), slots, n_ubatch=ubatch, n_gpu_layers=-1),
        placed(n_ctx, max(1, slots - 1), n_ubatch=ubatch, n_gpu_layers=-1),
        placed(n_ctx, slots, n_ubatch=ubatch // 2, n_gpu_layers=-1),
        placed(n_ctx, slots, "q8_0", n_ubatch=ubatch, n_gpu_layers=-1),
    ]
    whole, *less = size([wish, *smaller])
    assert all(one.total_bytes <= whole.total_bytes for one in less)


# ── guesses and speed ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "count"),
    [("135M", 135_000_000), ("8.03B", 8_030_000_000), ("8x7B", 56_000_000_000), (" 3b ", 3_000_000_000)],
)
def test_parameters_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parameters_of(text, 1) == count


@pytest.mark.parametrize("text", [None, "", "many", "8 billion", "1e9B", "9" * 400 + "B", "-1B"])
def test_or_are_told_by_the_size(text: str | None) -> None:
    assert parameters_of(text, 4_000_000_000) == 8_000_000_000


@pytest.mark.parametrize(
    ("model", "n_params"),
    [
        (ghosts.SMOLLM_135M, 135_000_000),
        (ghosts.LLAMA_3B, 3_210_000_000),
        (ghosts.QWEN_7B, 7_620_000_000),
        (ghosts.LLAMA_8B, 8_030_000_000),
    ],
    ids=lambda value: value.architecture if isinstance(value, Dimensions) else value,
)
def test_a_guess_is_never_below_what_the_header_tells(model: Dimensions, n_params: int) -> None:
    header, wish = ghost_header(model), placed(8192, 4)
    true = sized(model, wish)
    guessed = header_size(
        Model(
            header=guessed_header(n_params, weight_bytes(header), n_ctx_train=None),
            vocabulary_bytes=VOCABULARY_BYTES,
        ),
        Accelerator.NONE,
    )([wish])[0]
    assert true.total_bytes <= guessed.total_bytes
    assert true.cache_bytes <= guessed.cache_bytes <= 4 * true.cache_bytes


def test_a_token_reads_all_weights_but_the_embeddings_that_it_only_looks_up() -> None:
    header = ghost_header(ghosts.LLAMA_8B)
    embeddings = next(one for one in header.tensors if one.name == "token_embd.weight")
    assert (
        bytes_per_token(header, n_expert=0, n_expert_used=0) == weight_bytes(header) - embeddings.size_bytes
    )
    tied = ghost_header(ghosts.LLAMA_3B)
    assert bytes_per_token(tied, n_expert=0, n_expert_used=0) == weight_bytes(tied)


def test_of_experts_it_reads_those_that_are_chosen() -> None:
    header = ghost_header(ghosts.MIXTRAL)
    experts = sum(one.size_bytes for one in header.tensors if "_exps" in one.name)
    others = weight_bytes(header) - experts
    embeddings = next(one for one in header.tensors if one.name == "token_embd.weight").size_bytes
    assert bytes_per_token(header, n_expert=8, n_expert_used=2) == others - embeddings + experts // 4


def test_a_bound_is_bandwidth_over_bytes() -> None:
    assert decode_bound(100, 5) == 20
    assert decode_bound(100, 0) is None
