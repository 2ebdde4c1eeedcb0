"""Tiny well-formed models as raw fields: what the corpus forges. All load in llama.cpp in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from appliance.gguf.values import ValueType
from tests.fakes.gguf_corpus.raw import RawGguf

WIDTH: Final = 32
FF: Final = 64
HEADS: Final = 2
KV_HEADS: Final = 1
EXPERTS: Final = 4
CONTEXT: Final = 256
TEMPLATE: Final = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

_U32, _F32, _STRING, _INT32, _BOOL = (
    ValueType.UINT32,
    ValueType.FLOAT32,
    ValueType.STRING,
    ValueType.INT32,
    ValueType.BOOL,
)
_CONTROL, _UNKNOWN, _NORMAL, _BYTE = 3, 2, 1, 6
_LETTERS: Final = ["▁", *(chr(code) for code in range(0x21, 0x7F))]


def generator() -> RawGguf:
    """Llama with a SentencePiece vocabulary."""
    raw = _llama_metadata("llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(_LETTERS)]
    _vocabulary(raw, "llama", tokens, types)
    raw.add_array("tokenizer.ggml.scores", _F32, [-float(rank) for rank in range(len(tokens))])
    raw.add("tokenizer.ggml.unknown_token_id", _U32, 0)
    raw.add("tokenizer.ggml.bos_token_id", _U32, 1)
    raw.add("tokenizer.ggml.eos_token_id", _U32, 2)
    raw.add("tokenizer.chat_template", _STRING, TEMPLATE)
    return _llama_tensors(raw, len(tokens))


def byte_pairs() -> RawGguf:
    """Llama with a BPE vocabulary of GPT-2's kind."""
    raw = _llama_metadata("llama")
    letters = [chr(code) for code in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]]
    letters += [chr(code) for code in range(0x100, 0x144)]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "he", "th", "the"]
    _vocabulary(raw, "gpt2", tokens, [*[_CONTROL] * 3, *[_NORMAL] * (len(tokens) - 3)])
    raw.add("tokenizer.ggml.pre", _STRING, "smollm")
    raw.add_array("tokenizer.ggml.merges", _STRING, ["h e", "t h", "t he"])
    raw.add("tokenizer.ggml.bos_token_id", _U32, 1)
    raw.add("tokenizer.ggml.eos_token_id", _U32, 2)
    return _llama_tensors(raw, len(tokens))


def mixture() -> RawGguf:
    """Llama with experts (Mixtral)."""
    raw = generator()
    raw.add("llama.expert_count", _U32, EXPERTS).add("llama.expert_used_count", _U32, 2)
    raw.tensors = [
        one for one in raw.tensors if not one.name.text.startswith(b"blk.0.ffn_") or b"norm" in one.name.text
    ]
    rng = np.random.default_rng(2)
    _matrix(raw, rng, "blk.0.ffn_gate_inp.weight", WIDTH, EXPERTS)
    _matrix(raw, rng, "blk.0.ffn_gate_exps.weight", WIDTH, FF, EXPERTS)
    _matrix(raw, rng, "blk.0.ffn_down_exps.weight", FF, WIDTH, EXPERTS)
    _matrix(raw, rng, "blk.0.ffn_up_exps.weight", WIDTH, FF, EXPERTS)
    return raw


def encoder() -> RawGguf:
    """BERT with a WordPiece vocabulary."""
    raw = RawGguf().add("general.architecture", _STRING, "bert")
    _dimensions(raw, "bert")
    raw.add("bert.attention.causal", _BOOL, value=False)
    raw.add("bert.attention.layer_norm_epsilon", _F32, 1e-5)
    raw.add("bert.pooling_type", _U32, 1)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{one}" for one in "abcdefgh"), *"abcdefgh"]
    _vocabulary(raw, "bert", tokens, [*[_CONTROL] * 5, *[_NORMAL] * (len(tokens) - 5)])
    raw.add("tokenizer.ggml.token_type_count", _U32, 2)
    for name, token in (
        ("padding", 0),
        ("unknown", 1),
        ("bos", 2),
        ("seperator", 3),
        ("eos", 3),
        ("mask", 4),
    ):
        raw.add(f"tokenizer.ggml.{name}_token_id", _U32, token)
    rng = np.random.default_rng(3)
    _matrix(raw, rng, "token_embd.weight", WIDTH, len(tokens))
    _matrix(raw, rng, "token_types.weight", WIDTH, 2)
    _matrix(raw, rng, "position_embd.weight", WIDTH, CONTEXT)
    _norm(raw, "token_embd_norm")
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        _linear(raw, rng, f"blk.0.{part}", WIDTH, WIDTH)
    _norm(raw, "blk.0.attn_output_norm")
    _linear(raw, rng, "blk.0.ffn_up", WIDTH, FF)
    _linear(raw, rng, "blk.0.ffn_down", FF, WIDTH)
    _norm(raw, "blk.0.layer_output_norm")
    return raw


def adapter() -> RawGguf:
    """LoRA for `generator`."""
    raw = RawGguf().add("general.architecture", _STRING, "llama").add("general.type", _STRING, "adapter")
    raw.add("adapter.type", _STRING, "lora").add("adapter.lora.alpha", _F32, 4.0)
    rng = np.random.default_rng(4)
    _matrix(raw, rng, "blk.0.attn_q.weight.lora_a", WIDTH, 4)
    _matrix(raw, rng, "blk.0.attn_q.weight.lora_b", 4, WIDTH)
    return raw


def llama3(**ids: int) -> RawGguf:
    """A vocabulary as large as Llama 3's, with its end of a turn; `ids`: of special tokens. Too large to be
    one of the seeds.
    """
    raw = byte_pairs()
    texts = [f"t{index}" for index in range(128_010)]
    texts[128_009] = "<|eot_id|>"
    raw.set_array("tokenizer.ggml.tokens", _STRING, texts).drop("tokenizer.ggml.token_type")
    for name in ("token_embd.weight", "output.weight"):
        tensor = raw.tensor(name)
        tensor.shape, tensor.data = [WIDTH, len(texts)], bytes(WIDTH * 4 * len(texts))
    for key, value in ids.items():
        raw.set(f"tokenizer.ggml.{key}", _U32, value)
    return raw


def projector() -> RawGguf:
    """A projector (mmproj) for `generator`: a vision tower of one layer. Not among the seeds, which all load:
    nothing of ours loads a projector yet.
    """
    raw = RawGguf().add("general.architecture", _STRING, "clip").add("general.type", _STRING, "mmproj")
    raw.add("clip.has_vision_encoder", _BOOL, value=True).add("clip.projector_type", _STRING, "mlp")
    for key, value in (
        ("image_size", 28),
        ("patch_size", 14),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FF),
        ("block_count", 1),
        ("projection_dim", WIDTH),
        ("attention.head_count", HEADS),
    ):
        raw.add(f"clip.vision.{key}", _U32, value)
    raw.add("clip.vision.attention.layer_norm_epsilon", _F32, 1e-5)
    for name in ("image_mean", "image_std"):
        raw.add_array(f"clip.vision.{name}", _F32, [0.5, 0.5, 0.5])
    rng = np.random.default_rng(2)
    _matrix(raw, rng, "v.patch_embd.weight", 14, 14, 3, WIDTH)
    _matrix(raw, rng, "v.position_embd.weight", WIDTH, 4)
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        _linear(raw, rng, f"v.blk.0.{part}", WIDTH, WIDTH)
    for part in ("ln1", "ln2"):
        _norm(raw, f"v.blk.0.{part}")
    _linear(raw, rng, "v.blk.0.ffn_up", WIDTH, FF)
    _linear(raw, rng, "v.blk.0.ffn_down", FF, WIDTH)
    _linear(raw, rng, "mm.0", WIDTH, WIDTH)
    return raw


SEEDS: Final[Mapping[str, Callable[[], RawGguf]]] = {
    "generator": generator,
    "byte_pairs": byte_pairs,
    "mixture": mixture,
    "encoder": encoder,
    "adapter": adapter,
}


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────


def _llama_metadata(architecture: str) -> RawGguf:
    raw = RawGguf().add("general.architecture", _STRING, architecture).add("general.name", _STRING, "seed")
    _dimensions(raw, architecture)
    raw.add(f"{architecture}.attention.head_count_kv", _U32, KV_HEADS)
    raw.add(f"{architecture}.attention.layer_norm_rms_epsilon", _F32, 1e-5)
    raw.add(f"{architecture}.rope.dimension_count", _U32, WIDTH // HEADS)
    raw.add(f"{architecture}.rope.freq_base", _F32, 10000.0)
    return raw


def _dimensions(raw: RawGguf, architecture: str) -> None:
    for key, value in (
        ("block_count", 1),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FF),
        ("attention.head_count", HEADS),
    ):
        raw.add(f"{architecture}.{key}", _U32, value)


def _vocabulary(raw: RawGguf, model: str, tokens: list[str], types: list[int]) -> None:
    raw.add("tokenizer.ggml.model", _STRING, model)
    raw.add_array("tokenizer.ggml.tokens", _STRING, tokens)
    raw.add_array("tokenizer.ggml.token_type", _INT32, types)


def _llama_tensors(raw: RawGguf, n_vocab: int) -> RawGguf:
    rng = np.random.default_rng(1)
    kv_width = WIDTH // HEADS * KV_HEADS
    _matrix(raw, rng, "token_embd.weight", WIDTH, n_vocab)
    _vector(raw, "output_norm.weight")
    _matrix(raw, rng, "output.weight", WIDTH, n_vocab)
    _vector(raw, "blk.0.attn_norm.weight")
    _matrix(raw, rng, "blk.0.attn_q.weight", WIDTH, WIDTH)
    _matrix(raw, rng, "blk.0.attn_k.weight", WIDTH, kv_width)
    _matrix(raw, rng, "blk.0.attn_v.weight", WIDTH, kv_width)
    _matrix(raw, rng, "blk.0.attn_output.weight", WIDTH, WIDTH)
    _vector(raw, "blk.0.ffn_norm.weight")
    _matrix(raw, rng, "blk.0.ffn_gate.weight", WIDTH, FF)
    _matrix(raw, rng, "blk.0.ffn_up.weight", WIDTH, FF)
    _matrix(raw, rng, "blk.0.ffn_down.weight", FF, WIDTH)
    return raw


def _matrix(raw: RawGguf, rng: np.random.Generator, name: str, *shape: int) -> None:
    """Of ggml's shape, row length first."""
    raw.add_tensor(name, shape, rng.normal(0, 0.1, int(np.prod(shape))).astype("<f4").tobytes())


def _vector(raw: RawGguf, name: str, value: float = 1.0) -> None:
    raw.add_tensor(name, [WIDTH], np.full(WIDTH, value, "<f4").tobytes())


def _norm(raw: RawGguf, name: str) -> None:
    _vector(raw, f"{name}.weight")
    _vector(raw, f"{name}.bias", 0.0)


def _linear(raw: RawGguf, rng: np.random.Generator, name: str, columns: int, rows: int) -> None:
    _matrix(raw, rng, f"{name}.weight", columns, rows)
    raw.add_tensor(f"{name}.bias", [rows], np.zeros(rows, "<f4").tobytes())


def write_split(directory: Path) -> list[Path]:
    """The seed in two: metadata in the first, tensors in both."""
    whole = generator()
    parts = [whole.copy(), RawGguf()]
    parts[0].tensors, parts[1].tensors = whole.tensors[:4], whole.tensors[4:]
    paths = []
    for number, part in enumerate(parts):
        part.add("split.no", ValueType.UINT16, number).add("split.count", ValueType.UINT16, 2)
        part.add("split.tensors.count", ValueType.INT32, len(whole.tensors))
        paths.append(directory / f"big-{number + 1:05d}-of-00002.gguf")
        paths[-1].write_bytes(part.render())
    return paths
