"""Models of several architectures with random weights, large enough that their buffers are seen beside the
process: real ones for llama.cpp, useless to people. Tens of megabytes, written in a second.

    n_vocab tokens   tiny_gguf's own, then "▁w0", "▁w1" …
    weights          normal, of the variance that a pass keeps; biases and norms as if untrained
    output           of each token the one that follows it in its circle of `CIRCLE`: answers go round in
                     circles, so that drafts are right and become as long as they may
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from appliance.gguf.ghost import GhostTensor, GhostValue
from tests.fakes import tiny_gguf
from tests.fakes.ghost_models import Dense, dense_tensors, own_metadata

# fmt: off
MODELS: Final[Mapping[str, Dense]] = {
    "qwen3": Dense(
        architecture="qwen3", n_layer=12, n_embd=512, n_head=8, n_head_kv=4, n_ff=1536, n_vocab=24_000,
        kind="Q8_0", n_head_dim=128, has_head_norms=True, n_ctx_train=8192),
    "gemma3": Dense(
        architecture="gemma3", n_layer=12, n_embd=640, n_head=4, n_head_kv=1, n_ff=2048, n_vocab=48_000,
        kind="Q4_0", n_head_dim=256, has_head_norms=True, has_post_norms=True, n_ctx_train=8192,
        more={"attention.sliding_window": 512}),
    "qwen3moe": Dense(
        architecture="qwen3moe", n_layer=6, n_embd=384, n_head=6, n_head_kv=2, n_ff=1024, n_vocab=16_000,
        kind="F16", n_head_dim=64, has_head_norms=True, n_expert=8, n_expert_used=2, n_ff_exp=512,
        n_ctx_train=8192),
    "qwen2": Dense(
        architecture="qwen2", n_layer=10, n_embd=768, n_head=12, n_head_kv=2, n_ff=2048, n_vocab=32_000,
        kind="Q4_1", n_head_dim=64, has_bias=True, n_ctx_train=4096),
}
# fmt: on

CIRCLE: Final = 64


def write_random(path: Path, model: Dense, *, seed: int = 1) -> Path:
    writer = GGUFWriter(path, model.architecture)
    writer.add_name(f"random-{model.architecture}")
    for key, value in own_metadata(model).items():
        if key != "vocab_size":
            _add(writer, f"{model.architecture}.{key}", value)
    tiny_gguf.write_vocabulary(writer, n_tokens=model.n_vocab)
    rng = np.random.default_rng(seed)
    for name, values, kind in _weights(model, rng):
        stored = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: GhostValue) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case _:
            raise AssertionError(f"no metadata of this kind: {key}")


def _weights(
    model: Dense, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, GGMLQuantizationType]]:
    embeddings = rng.standard_normal((model.n_vocab, model.n_embd), dtype=np.float32)
    for tensor in dense_tensors(model):
        match tensor.name:
            case "token_embd.weight":
                values = embeddings
            case "output.weight":
                values = embeddings[_before(model.n_vocab)]
            case _:
                values = _values(tensor, rng)
        yield tensor.name, values, GGMLQuantizationType[tensor.type]


def _before(n_vocab: int) -> np.ndarray:
    """The token that each one follows."""
    tokens = np.arange(n_vocab)
    return np.where(tokens % CIRCLE == 0, np.minimum(tokens + CIRCLE, n_vocab) - 1, tokens - 1)


def _values(tensor: GhostTensor, rng: np.random.Generator) -> np.ndarray:
    if len(tensor.shape) == 1:
        kept = np.zeros if tensor.name.endswith(".bias") else np.ones
        return kept(tensor.shape, dtype=np.float32)
    # NumPy's shapes are the reverse of ggml's.
    made = rng.standard_normal(tensor.shape[::-1], dtype=np.float32)
    return made * np.float32(tensor.shape[0] ** -0.5)
