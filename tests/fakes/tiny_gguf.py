"""Tiny GGUF files with random weights, written at test time: real models for llama.cpp, useless to people.

Every file is a function of its arguments (the weights come from `seed`), loads in milliseconds and decodes
thousands of tokens a second. A generator has a SentencePiece vocabulary with all 256 byte tokens, so that its
random answers contain broken and split UTF-8: what a detokeniser must survive. Weights are so large that the
answer depends on the prompt.

    write_generator    llama architecture, generates; with or without a chat template
    write_embedder     llama architecture, causal, with pooling in its metadata (last, mean)
    write_encoder      bert architecture, not causal, WordPiece vocabulary (mean, cls, rank)
    write_windowed     gemma3 architecture: five of six layers see a sliding window
    write_recurrent    mamba architecture: a state instead of cells
    write_adapter      a LoRA adapter for `write_generator`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, PoolingType, TokenType

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The template SmolLM2 and Qwen use, without tools."""

UNKNOWN, BOS, EOS, IM_START, IM_END = range(5)
"""Ids of the control tokens of the generator's vocabulary; <|im_end|> ends generation."""
FIRST_BYTE = 5
"""Id of byte token <0x00>; the others follow in order."""
INFILL = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")
"""Qwen's names of the tokens around a gap, last in the vocabulary of a generator made for it."""
WORDS = ("▁the", "▁a", "▁and", "▁of", "▁to", "▁in", "▁is", "ing", "er", "th", "he", "an", "▁Hello", "▁world")
"""The only tokens of more than one character, so that most text tokenises character by character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Dimensions of a tiny model. The head size is `n_embd / n_head` and must be even (rotary positions)."""

    n_layer: int = 2
    n_embd: int = 64
    n_head: int = 4
    n_head_kv: int = 2
    n_ff: int = 128
    n_ctx_train: int = 2048


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    tokens: list[str]
    scores: list[float]
    types: list[TokenType]

    @classmethod
    def sentencepiece(cls, *, last: tuple[str, ...] = ()) -> _Vocabulary:
        """`last`: further control tokens."""
        control = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
        byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        letters = ["▁", *(chr(code) for code in range(0x21, 0x7F)), *"äöüßé€"]
        normal = [*letters, *WORDS]
        types = [
            TokenType.UNKNOWN,
            *[TokenType.CONTROL] * 4,
            *[TokenType.BYTE] * 256,
            *[TokenType.NORMAL] * len(normal),
            *[TokenType.CONTROL] * len(last),
        ]
        scores = [0.0] * (5 + 256) + [-float(rank) for rank in range(len(normal))] + [0.0] * len(last)
        return cls([*control, *byte_tokens, *normal, *last], scores, types)

    @classmethod
    def wordpiece(cls) -> _Vocabulary:
        """Word starts carry "▁" as in converted BERT files; continuations stand bare."""
        control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
        normal = [*(f"▁{letter}" for letter in letters), *letters, "▁the", "▁of", "▁hello", "▁world", "ing"]
        types = [*[TokenType.CONTROL] * 5, *[TokenType.NORMAL] * len(normal)]
        return cls([*control, *normal], [0.0] * len(types), types)

    def write(self, writer: GGUFWriter, *, model: str, pre: str) -> None:
        writer.add_tokenizer_model(model)
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(self.tokens)
        writer.add_token_scores(self.scores)
        writer.add_token_types(self.types)
        writer.add_vocab_size(len(self.tokens))


N_VOCAB = len(_Vocabulary.sentencepiece().tokens)

_Tensors = Iterator[tuple[str, np.ndarray]]


def write_generator(
    path: Path,
    *,
    seed: int = 1,
    shape: Shape | None = None,
    chat_template: str | None = CHATML,
    name: str = "tiny",
    weights: GGMLQuantizationType = GGMLQuantizationType.F32,
    as_floats: bool = False,
    infill: bool = False,
) -> Path:
    """Another `seed` is another model with the same vocabulary: a draft model, or a second one to load.

    `weights`: the type of all matrices; `as_floats`: the values of that type, but written as F32.
    `infill`: with the tokens for it.
    """
    last = INFILL if infill else ()
    writer = _llama_writer(path, shape or Shape(), name=name, last=last)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    tensors = _llama_tensors(shape or Shape(), np.random.default_rng(seed), n_vocab=N_VOCAB + len(last))
    return _finish(writer, path, tensors, weights=weights, as_floats=as_floats)


def write_embedder(path: Path, *, pooling: PoolingType, seed: int = 1, shape: Shape | None = None) -> Path:
    """A causal model whose metadata says that it is for embeddings (Qwen3-Embedding: `PoolingType.LAST`)."""
    writer = _llama_writer(path, shape or Shape(), name=f"tiny-embed-{pooling.name.lower()}")
    writer.add_pooling_type(pooling)
    return _finish(writer, path, _llama_tensors(shape or Shape(), np.random.default_rng(seed)))


def write_encoder(path: Path, *, pooling: PoolingType, seed: int = 1, shape: Shape | None = None) -> Path:
    """With `PoolingType.RANK` it has a classifier head of one output and scores pairs."""
    shape = shape or Shape(n_ctx_train=512)
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.BERT])
    _write_shape(writer, shape, name=f"tiny-encoder-{pooling.name.lower()}")
    writer.add_causal_attention(value=False)
    writer.add_layer_norm_eps(1e-5)
    writer.add_pooling_type(pooling)
    vocabulary = _Vocabulary.wordpiece()
    vocabulary.write(writer, model="bert", pre="jina-v2-en")
    writer.add_token_type_count(2)
    for add, token in (
        (writer.add_pad_token_id, 0),
        (writer.add_unk_token_id, 1),
        (writer.add_bos_token_id, 2),
        (writer.add_sep_token_id, 3),
        (writer.add_eos_token_id, 3),
        (writer.add_mask_token_id, 4),
    ):
        add(token)
    ranks = pooling is PoolingType.RANK
    tensors = _bert_tensors(shape, len(vocabulary.tokens), np.random.default_rng(seed), ranks=ranks)
    return _finish(writer, path, tensors)


def write_windowed(
    path: Path, *, window: int, seed: int = 1, weights: GGMLQuantizationType = GGMLQuantizationType.F32
) -> Path:
    """Its cache cannot be cut back further than the window."""
    shape = Shape(n_layer=6)
    writer = _base_writer(path, gguf.MODEL_ARCH.GEMMA3, shape, name="tiny-windowed")
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_key_length(shape.n_embd // shape.n_head)
    writer.add_value_length(shape.n_embd // shape.n_head)
    writer.add_sliding_window(window)
    tensors = _gemma_tensors(shape, np.random.default_rng(seed))
    return _finish(writer, path, tensors, weights=weights)


def write_recurrent(path: Path, *, seed: int = 1) -> Path:
    """Its memory cannot be cut back at all."""
    shape = Shape(n_head=0, n_ff=0)
    writer = _base_writer(path, gguf.MODEL_ARCH.MAMBA, shape, name="tiny-recurrent")
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(2 * shape.n_embd)
    writer.add_ssm_state_size(16)
    writer.add_ssm_time_step_rank(4)
    return _finish(writer, path, _mamba_tensors(shape, np.random.default_rng(seed)))


def write_adapter(path: Path, *, seed: int = 7, rank: int = 4, shape: Shape | None = None) -> Path:
    """A LoRA adapter over the query and output projections; at scale 1 it changes greedy answers."""
    shape = shape or Shape()
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    rng = np.random.default_rng(seed)
    return _finish(writer, path, _lora_tensors(shape, rank, rng))


# ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────


def _llama_writer(path: Path, shape: Shape, *, name: str, last: tuple[str, ...] = ()) -> GGUFWriter:
    writer = _base_writer(path, gguf.MODEL_ARCH.LLAMA, shape, name=name, last=last)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_embd // shape.n_head)
    return writer


def _base_writer(
    path: Path, architecture: gguf.MODEL_ARCH, shape: Shape, *, name: str, last: tuple[str, ...] = ()
) -> GGUFWriter:
    """With the generator's vocabulary."""
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _write_shape(writer, shape, name=name)
    writer.add_layer_norm_rms_eps(1e-5)
    write_vocabulary(writer, last=last)
    return writer


def write_vocabulary(writer: GGUFWriter, *, n_tokens: int = N_VOCAB, last: tuple[str, ...] = ()) -> None:
    """The generator's; where it shall be larger, made-up words follow."""
    vocabulary = _Vocabulary.sentencepiece(last=last)
    words = range(n_tokens - len(vocabulary.tokens))
    more = _Vocabulary(
        [*vocabulary.tokens, *(f"▁w{word}" for word in words)],
        [*vocabulary.scores, *(-1000.0 - word for word in words)],
        [*vocabulary.types, *[TokenType.NORMAL] * len(words)],
    )
    more.write(writer, model="llama", pre="default")
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_eot_token_id(IM_END)
    writer.add_add_bos_token(value=True)
    writer.add_add_space_prefix(value=False)


def _write_shape(writer: GGUFWriter, shape: Shape, *, name: str) -> None:
    writer.add_name(name)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _finish(
    writer: GGUFWriter,
    path: Path,
    tensors: _Tensors,
    *,
    weights: GGMLQuantizationType = GGMLQuantizationType.F32,
    as_floats: bool = False,
) -> Path:
    for tensor_name, tensor in tensors:
        plain = np.ascontiguousarray(tensor, dtype=np.float32)
        if plain.ndim != 2 or weights is GGMLQuantizationType.F32:
            writer.add_tensor(tensor_name, plain)
            continue
        stored = gguf.quants.quantize(plain, weights)
        if as_floats:
            writer.add_tensor(tensor_name, gguf.quants.dequantize(stored, weights))
        else:
            writer.add_tensor(tensor_name, stored, raw_dtype=weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# ── tensors: NumPy shapes are (rows, columns), the reverse of ggml's ────────────────────────────────────────


def _llama_tensors(shape: Shape, rng: np.random.Generator, *, n_vocab: int = N_VOCAB) -> _Tensors:
    n_embd, n_kv = shape.n_embd, shape.n_embd // shape.n_head * shape.n_head_kv
    yield "token_embd.weight", rng.normal(0, 1, (n_vocab, n_embd))
    yield "output_norm.weight", np.ones(n_embd)
    yield "output.weight", _projection(rng, n_vocab, n_embd) * 2
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", np.ones(n_embd)
        yield f"{block}.attn_q.weight", _projection(rng, n_embd, n_embd) * 2
        yield f"{block}.attn_k.weight", _projection(rng, n_kv, n_embd) * 2
        yield f"{block}.attn_v.weight", _projection(rng, n_kv, n_embd)
        yield f"{block}.attn_output.weight", _projection(rng, n_embd, n_embd)
        yield f"{block}.ffn_norm.weight", np.ones(n_embd)
        yield f"{block}.ffn_gate.weight", _projection(rng, shape.n_ff, n_embd)
        yield f"{block}.ffn_up.weight", _projection(rng, shape.n_ff, n_embd)
        yield f"{block}.ffn_down.weight", _projection(rng, n_embd, shape.n_ff)


def _gemma_tensors(shape: Shape, rng: np.random.Generator) -> _Tensors:
    head = shape.n_embd // shape.n_head
    yield from _llama_tensors(shape, rng)
    for layer in range(shape.n_layer):
        yield f"blk.{layer}.attn_q_norm.weight", np.ones(head)
        yield f"blk.{layer}.attn_k_norm.weight", np.ones(head)
        yield f"blk.{layer}.post_attention_norm.weight", np.ones(shape.n_embd)
        yield f"blk.{layer}.post_ffw_norm.weight", np.ones(shape.n_embd)


def _mamba_tensors(shape: Shape, rng: np.random.Generator) -> _Tensors:
    n_embd, inner, n_state, rank = shape.n_embd, 2 * shape.n_embd, 16, 4
    yield "token_embd.weight", rng.normal(0, 1, (N_VOCAB, n_embd))
    yield "output_norm.weight", np.ones(n_embd)
    yield "output.weight", _projection(rng, N_VOCAB, n_embd) * 2
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", np.ones(n_embd)
        yield f"{block}.ssm_in.weight", _projection(rng, 2 * inner, n_embd) * 2
        yield f"{block}.ssm_conv1d.weight", rng.normal(0, 0.5, (inner, 4))
        yield f"{block}.ssm_conv1d.bias", np.zeros(inner)
        yield f"{block}.ssm_x.weight", _projection(rng, rank + 2 * n_state, inner)
        yield f"{block}.ssm_dt.weight", _projection(rng, inner, rank)
        yield f"{block}.ssm_dt.bias", np.zeros(inner)
        yield f"{block}.ssm_a", -np.abs(rng.normal(1, 0.1, (inner, n_state)))
        yield f"{block}.ssm_d", np.ones(inner)
        yield f"{block}.ssm_out.weight", _projection(rng, n_embd, inner) * 2


def _bert_tensors(shape: Shape, n_vocab: int, rng: np.random.Generator, *, ranks: bool) -> _Tensors:
    n_embd = shape.n_embd
    yield "token_embd.weight", rng.normal(0, 1, (n_vocab, n_embd))
    yield "token_types.weight", rng.normal(0, 0.1, (2, n_embd))
    yield "position_embd.weight", rng.normal(0, 0.1, (shape.n_ctx_train, n_embd))
    yield from _norm("token_embd_norm", n_embd)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield from _linear(f"{block}.{part}", n_embd, n_embd, rng)
        yield from _norm(f"{block}.attn_output_norm", n_embd)
        yield from _linear(f"{block}.ffn_up", shape.n_ff, n_embd, rng)
        yield from _linear(f"{block}.ffn_down", n_embd, shape.n_ff, rng)
        yield from _norm(f"{block}.layer_output_norm", n_embd)
    if ranks:
        yield from _linear("cls", n_embd, n_embd, rng)
        yield from _linear("cls.output", 1, n_embd, rng)


def _lora_tensors(shape: Shape, rank: int, rng: np.random.Generator) -> _Tensors:
    for layer in range(shape.n_layer):
        for part in ("attn_q", "attn_output"):
            yield f"blk.{layer}.{part}.weight.lora_a", _projection(rng, rank, shape.n_embd)
            yield f"blk.{layer}.{part}.weight.lora_b", rng.normal(0, 1, (shape.n_embd, rank))


def _projection(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Keeps the variance of its input, whatever the size."""
    return rng.normal(0, columns**-0.5, (rows, columns))


def _linear(name: str, rows: int, columns: int, rng: np.random.Generator) -> _Tensors:
    yield f"{name}.weight", _projection(rng, rows, columns)
    yield f"{name}.bias", rng.normal(0, 0.02, rows)


def _norm(name: str, size: int) -> _Tensors:
    yield f"{name}.weight", np.ones(size)
    yield f"{name}.bias", np.zeros(size)
