"""A model's dimensions and names, as a planner and a person see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.gguf.header import Header, read_header
from appliance.gguf.quantization import quantization_of
from appliance.gguf.shape import parameter_count, read_shape, vocabulary_size, weight_bytes
from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus import seeds
from tests.fakes.gguf_corpus.raw import RawGguf

U32, I32, F32, BOOL = ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32, ValueType.BOOL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def header_of(path: Path, raw: RawGguf) -> Header:
    path.write_bytes(raw.render())
    return read_header(path)


def test_a_llama_tells_its_dimensions(path: Path) -> None:
    shape = read_shape(header_of(path, seeds.generator()))
    assert (shape.architecture, shape.n_layer, shape.n_embd, shape.n_vocab) == ("llama", 1, 32, 354)
    assert (shape.n_head, shape.n_head_kv, shape.n_ff, shape.n_ctx_train) == ((2,), (1,), (64,), 256)
    assert (shape.n_embd_head_k, shape.n_embd_head_v, shape.n_rot) == (16, 16, 16)
    assert shape.kv_row(0) == (16, 16)
    assert (shape.is_recurrent, shape.is_hybrid, shape.is_causal, shape.pooling_type) == (
        False,
        False,
        True,
        None,
    )


def test_heads_may_differ_by_layer(path: Path) -> None:
    raw = seeds.generator().set("llama.block_count", U32, 3)
    raw.set_array("llama.attention.head_count_kv", I32, [2, 0, 1])
    shape = read_shape(header_of(path, raw))
    assert (shape.n_head, shape.n_head_kv) == ((2, 2, 2), (2, 0, 1))
    assert [shape.kv_row(layer) for layer in range(3)] == [(32, 32), (0, 0), (16, 16)]


def test_keys_and_values_without_their_own_count_have_all_heads(path: Path) -> None:
    assert read_shape(header_of(path, seeds.generator().drop("llama.attention.head_count_kv"))).n_head_kv == (
        2,
    )


def test_experts_and_windows_are_told(path: Path) -> None:
    raw = seeds.mixture().add("llama.attention.sliding_window", U32, 64)
    raw.add_array("llama.attention.sliding_window_pattern", BOOL, [True])
    shape = read_shape(header_of(path, raw))
    assert (shape.n_expert, shape.n_expert_used) == (4, 2)
    assert (shape.n_swa, shape.swa_pattern) == (64, (True,))


def test_a_latent_cache_holds_keys_only(path: Path) -> None:
    raw = seeds.generator().add("llama.attention.kv_lora_rank", U32, 24)
    assert read_shape(header_of(path, raw)).kv_row(0) == (40, 0)


def test_a_recurrent_model_keeps_no_cells(path: Path) -> None:
    raw = RawGguf().add("general.architecture", ValueType.STRING, "mamba").add("mamba.block_count", U32, 2)
    raw.add("mamba.ssm.state_size", U32, 16).add("mamba.ssm.conv_kernel", U32, 4)
    shape = read_shape(header_of(path, raw))
    assert (shape.is_recurrent, shape.n_head_kv, shape.ssm_d_state, shape.ssm_d_conv) == (True, (0, 0), 16, 4)


def test_an_encoder_is_not_causal_and_pools(path: Path) -> None:
    shape = read_shape(header_of(path, seeds.encoder()))
    assert (shape.is_causal, shape.pooling_type) == (False, 1)


def test_a_senseless_header_gives_a_senseless_shape_and_no_exception(path: Path) -> None:
    raw = RawGguf().add("llama.block_count", U32, 2**32 - 1)
    raw.add_array("llama.attention.head_count", F32, [float("nan")])
    assert read_shape(header_of(path, raw)).n_layer == 0
    raw.add("general.architecture", ValueType.STRING, "llama")
    shape = read_shape(header_of(path, raw))
    assert (shape.n_layer, set(shape.n_head)) == (512, {0})


def test_sizes_are_sums_over_the_tensors(path: Path) -> None:
    header = header_of(path, seeds.adapter())
    assert (parameter_count(header), weight_bytes(header), vocabulary_size(header)) == (256, 1024, None)


@pytest.mark.parametrize(("number", "name"), [(15, "Q4_K_M"), (1, "F16"), (0, "F32"), (38, "MXFP4")])
def test_the_file_says_its_quantisation(number: int, name: str, path: Path) -> None:
    raw = RawGguf().add("general.file_type", U32, number)
    assert quantization_of(header_of(path, raw)) == name


@pytest.mark.parametrize("number", [None, 1024, 5])
def test_without_a_known_file_type_most_bytes_decide(number: int | None, path: Path) -> None:
    raw = RawGguf().add_tensor("a", [512], bytes(288), kind=12).add_tensor("b", [64], bytes(256))
    if number is not None:
        raw.add("general.file_type", U32, number)
    assert quantization_of(header_of(path, raw)) == "Q4_K"


def test_without_tensors_there_is_no_quantisation(path: Path) -> None:
    assert quantization_of(header_of(path, RawGguf())) is None
