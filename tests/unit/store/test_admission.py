"""The static check: good families pass, each rule refuses what it is for, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ModelInvalid
from appliance.gguf.values import ValueType
from appliance.store.admission import GgufKind, check
from tests.fakes.gguf_corpus import families, seeds
from tests.fakes.gguf_corpus.families import FAMILIES
from tests.fakes.gguf_corpus.forging import Kind
from tests.fakes.gguf_corpus.kinds import KINDS
from tests.fakes.gguf_corpus.raw import RawGguf
from tests.fakes.gguf_corpus.seeds import SEEDS

U16, U32, I32, F32, STRING, BOOL = (
    ValueType.UINT16,
    ValueType.UINT32,
    ValueType.INT32,
    ValueType.FLOAT32,
    ValueType.STRING,
    ValueType.BOOL,
)
TOKENS = "tokenizer.ggml.tokens"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def reason(path: Path, raw: RawGguf) -> str:
    path.write_bytes(raw.render())
    with pytest.raises(ModelInvalid) as caught:
        check([path], model="it")
    return str(caught.value.fields["reason"])


@pytest.mark.parametrize("name", [*SEEDS, *FAMILIES])
def test_good_models_are_admitted(name: str, path: Path) -> None:
    path.write_bytes({**SEEDS, **FAMILIES}[name]().render())
    facts = check([path], model=name)
    expected = {"adapter": GgufKind.ADAPTER, "projector": GgufKind.PROJECTOR}.get(name, GgufKind.MODEL)
    assert (facts.kind, facts.notes) == (expected, ())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.admitted], ids=lambda kind: kind.name)
def test_hostile_files_are_refused(kind: Kind, path: Path) -> None:
    path.write_bytes(kind.render())
    with pytest.raises(ModelInvalid, match=f"model '{kind.name}' does not load: ."):
        check([path], model=kind.name)


def test_facts_say_what_the_file_is(path: Path) -> None:
    path.write_bytes(seeds.generator().add("general.file_type", U32, 0).render())
    facts = check([path], model="tiny")
    assert (facts.kind, facts.architecture, facts.quantization) == (GgufKind.MODEL, "llama", "F32")
    assert (facts.parameters, facts.context_length) == (31968, 256)
    assert facts.size_bytes == path.stat().st_size
    assert facts.chat_template == seeds.TEMPLATE
    assert facts.shape is not None
    assert facts.shape.n_vocab == 354


def test_another_kind_of_file_than_expected_is_refused(path: Path) -> None:
    path.write_bytes(seeds.adapter().render())
    with pytest.raises(ModelInvalid, match="it is a GGUF of the kind 'adapter', not 'model'"):
        check([path], model="lora", kind=GgufKind.MODEL)
    assert check([path], model="lora", kind=GgufKind.ADAPTER).kind is GgufKind.ADAPTER


def test_companions_have_no_shape(path: Path) -> None:
    path.write_bytes(seeds.adapter().render())
    facts = check([path], model="lora")
    assert (facts.kind, facts.shape, facts.context_length) == (GgufKind.ADAPTER, None, None)


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (lambda raw: setattr(raw, "version", 2), "GGUF version 2 is out of date; convert it to version 3"),
        (
            lambda raw: setattr(raw.tensor("output_norm.weight"), "offset", 32),
            "tensor 'output_norm.weight' is at 32, expected at 45312",
        ),
        (
            lambda raw: raw.set("llama.rope.freq_base", F32, float("inf")),
            "llama.rope.freq_base is inf",
        ),
        (
            lambda raw: raw.set("general.architecture", STRING, "llama9"),
            "architecture 'llama9' is not known to this llama.cpp",
        ),
        (
            lambda raw: raw.set("llama.block_count", U32, 513),
            "llama.block_count is 513, not one of 1 to 512",
        ),
        (
            lambda raw: setattr(raw.tensor("blk.0.attn_q.weight").name, "text", b"blk.7.attn_q.weight"),
            "it announces 1 layers and has tensors of layer 7",
        ),
        (
            lambda raw: raw.set("llama.attention.head_count_kv", U32, 7),
            "layer 0 has 2 heads, which 7 heads of keys and values do not divide",
        ),
        (
            lambda raw: raw.set_array("llama.attention.head_count", I32, [2, 2]),
            "it has 1 layers and counts heads for 2 and 1",
        ),
        (
            lambda raw: raw.set("llama.rope.dimension_count", U32, 15),
            "RoPE turns 15 dimensions, an odd number",
        ),
        (
            lambda raw: raw.add("llama.attention.key_length", U32, 8),
            "RoPE turns 16 dimensions of keys that have 8",
        ),
        (
            lambda raw: raw.set("llama.attention.layer_norm_rms_epsilon", F32, 0.5),
            "llama.attention.layer_norm_rms_epsilon is 0.5, not one of 1e-12 to 0.1",
        ),
        (lambda raw: raw.add("llama.expert_used_count", U32, 1), "it has no experts and uses some"),
        (
            lambda raw: raw.set("llama.block_count", STRING, "many"),
            "llama.block_count is missing or no number",
        ),
        (
            lambda raw: raw.set("llama.attention.head_count", U32, 64).set(
                "llama.attention.head_count_kv", U32, 1
            ),
            "it has 64 heads in 32 dimensions",
        ),
        (
            lambda raw: raw.set("llama.attention.head_count_kv", U32, 5000),
            "llama.attention.head_count_kv is 5000, not one of 0 to 4096",
        ),
        (
            lambda raw: raw.set_array("tokenizer.ggml.token_type", I32, [7] * 354),
            "tokenizer.ggml.token_type holds other numbers than 0 to 6",
        ),
        (
            lambda raw: raw.add_array("llama.expert_count", F32, [1.0]),
            "llama.expert_count is no number",
        ),
        (lambda raw: raw.drop("tokenizer.ggml.model"), "it has no vocabulary (tokenizer.ggml.model)"),
        (
            lambda raw: raw.set("tokenizer.ggml.bos_token_id", U32, 354),
            "tokenizer.ggml.bos_token_id is 354, and the vocabulary has 354 tokens",
        ),
        (
            lambda raw: setattr(raw.tensor("token_embd.weight"), "shape", [354, 32]),
            "tensor 'token_embd.weight' has shape (354, 32), expected (32, 354) (width, vocabulary)",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(forge: Callable[[RawGguf], object], expected: str, path: Path) -> None:
    raw = seeds.generator()
    forge(raw)
    assert reason(path, raw) == expected


def test_padding_behind_the_last_tensor_may_be_missing(path: Path) -> None:
    raw = seeds.generator()
    raw.tensors.insert(0, raw.tensors.pop(1))
    raw.add_tensor("blk.0.attn_q.bias", [3], bytes(12))
    raw.keep_bytes = len(raw.render()) - 20
    path.write_bytes(raw.render())
    assert check([path], model="it").kind is GgufKind.MODEL


def test_a_few_empty_tokens_pass_and_many_do_not(path: Path) -> None:
    raw = families.qwen2()
    texts = [f"token{index}" for index in range(400)]
    raw.set_array(TOKENS, STRING, ["" if index % 100 == 0 else text for index, text in enumerate(texts)])
    path.write_bytes(raw.render())
    assert check([path], model="it").kind is GgufKind.MODEL
    raw.set_array(TOKENS, STRING, ["" if index % 2 else text for index, text in enumerate(texts)])
    assert reason(path, raw) == "200 tokens of its vocabulary are empty"


@pytest.mark.parametrize(
    ("family", "forge", "expected"),
    [
        (
            families.llama4,
            lambda raw: raw.set("tokenizer.ggml.pre", STRING, "llama-bpe").add(
                "tokenizer.ggml.bos_token_id", U32, 2**32 - 1
            ),
            None,
        ),
        (
            families.glm4moe,
            lambda raw: raw.add("tokenizer.ggml.add_bos_token", BOOL, value=True),
            "every text begins or ends with its 'bos' token, and the vocabulary has none",
        ),
        (
            families.nomic_bert_moe,
            lambda raw: raw.set_array(
                "tokenizer.ggml.precompiled_charsmap", ValueType.UINT8, [99, 0, 0, 0] * 3
            ),
            "tokenizer.ggml.precompiled_charsmap is damaged",
        ),
        (
            families.rwkv7,
            lambda raw: setattr(raw.pair(TOKENS), "value", raw.pair(TOKENS).value.replace(b"\\n", b"\\q")),
            "1 of 256 byte tokens are missing, e.g. of 0x0A",
        ),
    ],
)
def test_tokens_that_llama_cpp_relies_on_are_there(
    family: Callable[[], RawGguf], forge: Callable[[RawGguf], object], expected: str | None, path: Path
) -> None:
    raw = family()
    forge(raw)
    if expected is None:
        path.write_bytes(raw.render())
        assert check([path], model="it").kind is GgufKind.MODEL
    else:
        assert reason(path, raw) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("expert_group_count", 3, "3 groups do not divide its 4 experts"),
        ("expert_group_count", 2, "it has 2 groups of experts and uses 0"),
        ("expert_group_count", 4, "it has 4 experts in 4 groups"),
        ("expert_used_count", 0, "it has 4 experts and uses 0"),
    ],
)
def test_experts_are_consistent(key: str, value: int, expected: str, path: Path) -> None:
    assert reason(path, seeds.mixture().set(f"llama.{key}", U32, value)) == expected


def test_a_projector_computes_with_what_it_holds(path: Path) -> None:
    raw = families.projector()
    raw.tensors[0].type = 26
    assert (
        reason(path, raw)
        == "tensor 'v.blk.0.attn_q.weight' has type I32, which llama.cpp cannot compute with"
    )
    raw.tensors = []
    assert "it is a projector without a tensor" in reason(path, raw.drop("clip.has_vision_encoder"))


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (lambda raw: raw.tensors.pop(), "tensor 'blk.0.attn_q.weight.lora_a' has no other half"),
        (
            lambda raw: setattr(raw.tensors[1], "shape", [8, 16]),
            "the ranks of the pair 'blk.0.attn_q.weight' differ: (32, 4), (8, 16)",
        ),
        (
            lambda raw: setattr(raw.tensors[1], "shape", [128]),
            "the pair 'blk.0.attn_q.weight' is no pair of matrices: (32, 4), (128,)",
        ),
        (
            lambda raw: raw.add_tensor("blk.0.attn_q.weight", [4], bytes(16)),
            "tensor 'blk.0.attn_q.weight' is no half of a LoRA pair",
        ),
        (
            lambda raw: raw.add_array("adapter.alora.invocation_tokens", I32, [1]),
            "adapter.alora.invocation_tokens is no array of 32-bit numbers",
        ),
        (
            lambda raw: raw.set("general.architecture", STRING, "bloom9"),
            "architecture 'bloom9' of the adapter is not known to this llama.cpp",
        ),
    ],
)
def test_adapters_are_pairs(forge: Callable[[RawGguf], object], expected: str, path: Path) -> None:
    raw = seeds.adapter()
    forge(raw)
    assert reason(path, raw) == expected


def test_an_adapter_of_the_embedding_stands_the_other_way_round(path: Path) -> None:
    raw = seeds.adapter()
    raw.add_tensor("token_embd.weight.lora_a", [4, 354], bytes(4 * 4 * 354))
    raw.add_tensor("token_embd.weight.lora_b", [4, 32], bytes(4 * 4 * 32))
    path.write_bytes(raw.render())
    assert check([path], model="it").kind is GgufKind.ADAPTER
