"""Files for Ollama's own engine are told by their markers and refused with the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ModelInvalid
from appliance.gguf.values import ValueType
from appliance.store.admission import check
from tests.fakes.gguf_corpus import families, seeds
from tests.fakes.gguf_corpus.raw import RawGguf

U32, I32, F32, STRING = ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32, ValueType.STRING


def as_architecture(family: Callable[[], RawGguf], name: str) -> RawGguf:
    """The family's file under another name, keys and all."""
    raw = family()
    old = raw.pair("general.architecture").value[8:]
    for pair in raw.pairs:
        pair.key.text = pair.key.text.replace(old + b".", name.encode() + b".")
    return raw.set("general.architecture", STRING, name)


def renamed(raw: RawGguf, old: bytes, new: bytes) -> RawGguf:
    for tensor in raw.tensors:
        tensor.name.text = tensor.name.text.replace(old, new)
    return raw


DIALECT: dict[str, Callable[[], RawGguf]] = {
    "gptoss": lambda: as_architecture(families.gpt_oss, "gptoss"),
    "qwen25vl": lambda: as_architecture(families.qwen2, "qwen25vl"),
    "olmo3": lambda: as_architecture(families.qwen2, "olmo3"),
    "glm4moelite": lambda: as_architecture(families.deepseek2, "glm4moelite"),
    "gemma3 with its tower": lambda: families.gemma3().add_tensor("v.blk.0.w", [8], bytes(32)),
    "gemma3 with Ollama's keys": lambda: families.gemma3().add("gemma3.mm.tokens_per_image", U32, 256),
    "gemma3 without epsilon": lambda: families.gemma3().drop("gemma3.attention.layer_norm_rms_epsilon"),
    "embeddinggemma": lambda: families.gemma3().add_tensor("dense.0.weight", [8, 8], bytes(256)),
    "gemma3n": lambda: as_architecture(families.gemma3, "gemma3n").add_tensor(
        "per_layer_token_embd.weight", [64, 300], bytes(64 * 300 * 4)
    ),
    "gemma4": lambda: as_architecture(families.gemma3, "gemma4"),
    "lfm2": lambda: renamed(families.lfm2(), b"token_embd_norm", b"output_norm"),
    "mistral3": lambda: as_architecture(families.qwen2, "mistral3").add(
        "mistral3.rope.scaling.beta_fast", F32, 32.0
    ),
    "llama4 with its tower": lambda: families.llama4().add_tensor("mm.linear.w", [8], bytes(32)),
    "qwen3next": lambda: as_architecture(families.qwen2, "qwen3next").add_tensor(
        "blk.0.ssm_dt", [8], bytes(32)
    ),
    "qwen35": lambda: as_architecture(families.qwen2, "qwen35").add_array(
        "qwen35.attention.head_count_kv", I32, [2]
    ),
    "arctic-embed": lambda: as_architecture(families.nomic_bert_moe, "bert").set_array(
        "tokenizer.ggml.precompiled_charsmap", STRING, ["QQ=="]
    ),
}


@pytest.mark.parametrize("name", DIALECT)
def test_the_dialect_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "library.gguf"
    path.write_bytes(DIALECT[name]().render())
    with pytest.raises(
        ModelInvalid, match=r"written for Ollama's own engine \(.*\); take the same model from another"
    ):
        check([path], model=name)


def test_an_old_llama_3_passes_with_notes(tmp_path: Path) -> None:
    path = tmp_path / "llama3.gguf"
    path.write_bytes(seeds.llama3(eos_token_id=128_001).drop("tokenizer.ggml.pre").render())
    first, second = check([path], model="llama3").notes
    assert "names no pre-tokenizer (llama-bpe)" in first
    assert "its end token is the end of text" in second


def test_a_new_llama_3_passes_without(tmp_path: Path) -> None:
    path = tmp_path / "llama3.gguf"
    raw = seeds.llama3(eos_token_id=128_009).set("tokenizer.ggml.pre", STRING, "llama-bpe")
    path.write_bytes(raw.render())
    assert check([path], model="llama3").notes == ()
