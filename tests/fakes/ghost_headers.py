"""Headers of models that people run, without a file: what a planner needs of them, by the dimensions that
their makers publish. Quantisations mix types as llama.cpp's do, so sizes are close to those of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from appliance.gguf.header import DEFAULT_ALIGNMENT, Header, TensorInfo
from appliance.gguf.tensor_types import TENSOR_TYPES

_TYPES = {one.name: one for one in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    architecture: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head: int
    n_vocab: int
    n_ctx_train: int
    is_tied: bool = False
    """The embeddings are the output layer, too."""
    n_expert: int = 0
    n_expert_used: int = 0
    n_swa: int = 0


LLAMA_8B = Dimensions(
    architecture="llama", n_layer=32, n_embd=4096, n_ff=14336, n_head=32, n_head_kv=8, head=128,
    n_vocab=128_256, n_ctx_train=131_072,
)  # fmt: skip
LLAMA_3B = Dimensions(
    architecture="llama", n_layer=28, n_embd=3072, n_ff=8192, n_head=24, n_head_kv=8, head=128,
    n_vocab=128_256, n_ctx_train=131_072, is_tied=True,
)  # fmt: skip
QWEN_7B = Dimensions(
    architecture="qwen2", n_layer=28, n_embd=3584, n_ff=18944, n_head=28, n_head_kv=4, head=128,
    n_vocab=152_064, n_ctx_train=32_768,
)  # fmt: skip
GEMMA_4B = Dimensions(
    architecture="gemma3", n_layer=34, n_embd=2560, n_ff=10240, n_head=8, n_head_kv=4, head=256,
    n_vocab=262_208, n_ctx_train=131_072, is_tied=True, n_swa=1024,
)  # fmt: skip
MIXTRAL = Dimensions(
    architecture="llama", n_layer=32, n_embd=4096, n_ff=14336, n_head=32, n_head_kv=8, head=128,
    n_vocab=32_000, n_ctx_train=32_768, n_expert=8, n_expert_used=2,
)  # fmt: skip
SMOLLM_135M = Dimensions(
    architecture="llama", n_layer=30, n_embd=576, n_ff=1536, n_head=9, n_head_kv=3, head=64,
    n_vocab=49_152, n_ctx_train=8192, is_tied=True,
)  # fmt: skip


def ghost_header(model: Dimensions, quantization: str = "Q4_K_M") -> Header:
    tensors = [tensor for layer in range(model.n_layer) for tensor in _layer(model, layer, quantization)]
    head = "Q6_K" if quantization == "Q4_K_M" else quantization
    embeddings = head if model.is_tied else _base(quantization)
    tensors.append(_tensor("token_embd.weight", (model.n_embd, model.n_vocab), embeddings))
    if not model.is_tied:
        tensors.append(_tensor("output.weight", (model.n_embd, model.n_vocab), head))
    return Header(
        version=3,
        metadata=MappingProxyType(metadata_of(model)),
        types=MappingProxyType({}),
        tensors=tuple(tensors),
        alignment=DEFAULT_ALIGNMENT,
        data_offset=0,
        file_bytes=sum(tensor.size_bytes for tensor in tensors),
    )


def metadata_of(model: Dimensions) -> dict[str, Any]:
    prefix = model.architecture
    facts = {
        "general.architecture": prefix,
        f"{prefix}.block_count": model.n_layer,
        f"{prefix}.embedding_length": model.n_embd,
        f"{prefix}.feed_forward_length": model.n_ff,
        f"{prefix}.attention.head_count": model.n_head,
        f"{prefix}.attention.head_count_kv": model.n_head_kv,
        f"{prefix}.attention.key_length": model.head,
        f"{prefix}.attention.value_length": model.head,
        f"{prefix}.attention.sliding_window": model.n_swa,
        f"{prefix}.context_length": model.n_ctx_train,
        f"{prefix}.vocab_size": model.n_vocab,
        f"{prefix}.expert_count": model.n_expert,
        f"{prefix}.expert_used_count": model.n_expert_used,
    }
    return {key: value for key, value in facts.items() if value}


def _layer(model: Dimensions, layer: int, quantization: str) -> list[TensorInfo]:
    base, better = _base(quantization), _base(quantization)
    if quantization == "Q4_K_M" and _gets_more_bits(layer, model.n_layer):
        better = "Q6_K"
    wide, narrow = model.n_head * model.head, model.n_head_kv * model.head
    experts, suffix = ((model.n_expert,), "_exps") if model.n_expert else ((), "")
    return [
        _tensor(f"blk.{layer}.attn_q.weight", (model.n_embd, wide), base),
        _tensor(f"blk.{layer}.attn_k.weight", (model.n_embd, narrow), base),
        _tensor(f"blk.{layer}.attn_v.weight", (model.n_embd, narrow), better),
        _tensor(f"blk.{layer}.attn_output.weight", (wide, model.n_embd), base),
        _tensor(f"blk.{layer}.ffn_gate{suffix}.weight", (model.n_embd, model.n_ff, *experts), base),
        _tensor(f"blk.{layer}.ffn_up{suffix}.weight", (model.n_embd, model.n_ff, *experts), base),
        _tensor(f"blk.{layer}.ffn_down{suffix}.weight", (model.n_ff, model.n_embd, *experts), better),
    ]


def _gets_more_bits(layer: int, n_layer: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and the last eighth, and every third between."""
    eighth = n_layer // 8
    return layer < eighth or layer >= 7 * n_layer // 8 or (layer - eighth) % 3 == 2


def _base(quantization: str) -> str:
    return "Q4_K" if quantization == "Q4_K_M" else quantization


def _tensor(name: str, shape: tuple[int, ...], type_name: str) -> TensorInfo:
    kind = _TYPES[type_name]
    elements = prod(shape)
    return TensorInfo(name, shape, kind, 0, elements, elements // kind.block_items * kind.block_bytes)
