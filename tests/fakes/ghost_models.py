"""Ghosts of real models: their dimensions and tensors, and no weights. A few kilobytes each (sparse files).

Dimensions are those that the models' own configurations publish. They have no vocabulary, so that a dry run
of one takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.gguf.ghost import Ghost, GhostTensor, GhostValue, ghost


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A decoder of the usual form."""

    architecture: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_vocab: int
    kind: str
    """Type of all matrices."""
    n_ctx_train: int = 131_072
    n_head_dim: int = 0
    """0: `n_embd / n_head`."""
    is_tied: bool = False
    has_bias: bool = False
    has_head_norms: bool = False
    has_post_norms: bool = False
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_exp: int = 0
    is_fused: bool = False
    """Queries, keys and values in one matrix; gate and up, too (Phi-3)."""
    more: Mapping[str, GhostValue] | None = None
    """Further metadata, under the architecture's prefix."""

    @property
    def head(self) -> int:
        return self.n_head_dim or self.n_embd // self.n_head


def dense(model: Dense) -> Ghost:
    return ghost(_named(model.architecture, own_metadata(model)), dense_tensors(model))


def dense_tensors(model: Dense) -> list[GhostTensor]:
    return [*_ends(model), *_layers(model)]


def own_metadata(model: Dense) -> dict[str, GhostValue]:
    """What stands under the architecture's prefix."""
    own: dict[str, GhostValue] = {
        "context_length": model.n_ctx_train,
        "embedding_length": model.n_embd,
        "block_count": model.n_layer,
        "feed_forward_length": model.n_ff,
        "attention.head_count": model.n_head,
        "attention.head_count_kv": model.n_head_kv,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "vocab_size": model.n_vocab,
    }
    if model.n_head_dim:
        own |= {"attention.key_length": model.head, "attention.value_length": model.head}
    own["rope.dimension_count"] = model.head
    if model.n_expert:
        own |= {
            "expert_count": model.n_expert,
            "expert_used_count": model.n_expert_used,
            "expert_feed_forward_length": model.n_ff_exp,
        }
    return own | dict(model.more or {})


def _named(architecture: str, own: Mapping[str, GhostValue]) -> dict[str, GhostValue]:
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "no_vocab",
    }


def _ends(model: Dense) -> list[GhostTensor]:
    rows = (model.n_embd, model.n_vocab)
    ends = [GhostTensor("token_embd.weight", rows, model.kind), _norm("output_norm", model.n_embd)]
    return ends if model.is_tied else [*ends, GhostTensor("output.weight", rows, model.kind)]


def _layers(model: Dense) -> list[GhostTensor]:
    return [tensor for index in range(model.n_layer) for tensor in _layer(model, f"blk.{index}")]


def _layer(model: Dense, block: str) -> list[GhostTensor]:
    def matrix(name: str, *shape: int) -> GhostTensor:
        return GhostTensor(f"{block}.{name}.weight", shape, model.kind)

    n_embd, n_q, n_kv = model.n_embd, model.head * model.n_head, model.head * model.n_head_kv
    tensors = [_norm(f"{block}.attn_norm", n_embd), _norm(f"{block}.ffn_norm", n_embd)]
    if model.is_fused:
        tensors.append(matrix("attn_qkv", n_embd, n_q + 2 * n_kv))
    else:
        for part, width in (("q", n_q), ("k", n_kv), ("v", n_kv)):
            tensors.append(matrix(f"attn_{part}", n_embd, width))
            if model.has_bias:
                tensors.append(GhostTensor(f"{block}.attn_{part}.bias", (width,)))
    tensors.append(matrix("attn_output", n_q, n_embd))
    if model.has_head_norms:
        tensors += [_norm(f"{block}.attn_{part}_norm", model.head) for part in "qk"]
    if model.has_post_norms:
        tensors += [_norm(f"{block}.post_{part}_norm", n_embd) for part in ("attention", "ffw")]
    if model.n_expert:
        return [
            *tensors,
            GhostTensor(f"{block}.ffn_gate_inp.weight", (n_embd, model.n_expert)),
            *_experts(model, matrix),
        ]
    if model.is_fused:
        return [*tensors, matrix("ffn_up", n_embd, 2 * model.n_ff), matrix("ffn_down", model.n_ff, n_embd)]
    return [
        *tensors,
        *(matrix(f"ffn_{part}", n_embd, model.n_ff) for part in ("gate", "up")),
        matrix("ffn_down", model.n_ff, n_embd),
    ]


def _experts(model: Dense, matrix: Callable[..., GhostTensor]) -> list[GhostTensor]:
    return [
        *(
            matrix(f"ffn_{part}_exps", model.n_embd, model.n_ff_exp, model.n_expert)
            for part in ("gate", "up")
        ),
        matrix("ffn_down_exps", model.n_ff_exp, model.n_embd, model.n_expert),
    ]


def _norm(name: str, size: int) -> GhostTensor:
    return GhostTensor(f"{name}.weight", (size,))


# ── of other forms ──────────────────────────────────────────────────────────────────────────────────────────


def deepseek_v2_lite() -> Ghost:
    """MLA: what is cached is one compressed row a token, keys only. Its first layer is dense."""
    n_embd, n_head, rank, rope, nope, value, n_ff = 2048, 16, 512, 64, 128, 128, 10_944
    own: dict[str, GhostValue] = {
        "context_length": 163_840,
        "embedding_length": n_embd,
        "block_count": 27,
        "feed_forward_length": n_ff,
        "leading_dense_block_count": 1,
        "attention.head_count": n_head,
        "attention.head_count_kv": 1,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.kv_lora_rank": rank,
        "attention.key_length": rank + rope,
        "attention.value_length": rank,
        "attention.key_length_mla": nope + rope,
        "attention.value_length_mla": value,
        "rope.dimension_count": rope,
        "expert_count": 64,
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "expert_feed_forward_length": 1408,
        "vocab_size": 102_400,
    }
    kind = "Q4_K"
    tensors = [
        GhostTensor("token_embd.weight", (n_embd, 102_400), kind),
        _norm("output_norm", n_embd),
        GhostTensor("output.weight", (n_embd, 102_400), "Q6_K"),
    ]
    for index in range(27):
        block = f"blk.{index}"
        tensors += [
            _norm(f"{block}.attn_norm", n_embd),
            _norm(f"{block}.attn_kv_a_norm", rank),
            GhostTensor(f"{block}.attn_q.weight", (n_embd, n_head * (nope + rope)), kind),
            GhostTensor(f"{block}.attn_kv_a_mqa.weight", (n_embd, rank + rope), kind),
            GhostTensor(f"{block}.attn_k_b.weight", (nope, rank, n_head), "Q8_0"),
            GhostTensor(f"{block}.attn_v_b.weight", (rank, value, n_head), "Q8_0"),
            GhostTensor(f"{block}.attn_output.weight", (n_head * value, n_embd), kind),
            _norm(f"{block}.ffn_norm", n_embd),
        ]
        if index == 0:
            tensors += [
                GhostTensor(f"{block}.ffn_{part}.weight", (n_embd, n_ff), kind) for part in ("gate", "up")
            ]
            tensors.append(GhostTensor(f"{block}.ffn_down.weight", (n_ff, n_embd), "Q8_0"))
            continue
        tensors.append(GhostTensor(f"{block}.ffn_gate_inp.weight", (n_embd, 64)))
        for part in ("gate", "up"):
            tensors.append(GhostTensor(f"{block}.ffn_{part}_exps.weight", (n_embd, 1408, 64), kind))
            tensors.append(GhostTensor(f"{block}.ffn_{part}_shexp.weight", (n_embd, 2816), kind))
        tensors.append(GhostTensor(f"{block}.ffn_down_exps.weight", (1408, n_embd, 64), "Q8_0"))
        tensors.append(GhostTensor(f"{block}.ffn_down_shexp.weight", (2816, n_embd), kind))
    return ghost(_named("deepseek2", own), tensors)


_LFM2_HEADS_KV = (0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0)


def lfm2_1_2b() -> Ghost:
    """Hybrid: short convolutions with a state, and six layers of attention."""
    n_embd, n_ff, kind = 2048, 8192, "Q4_0"
    own: dict[str, GhostValue] = {
        "context_length": 128_000,
        "embedding_length": n_embd,
        "block_count": 16,
        "feed_forward_length": n_ff,
        "attention.head_count": 32,
        "attention.head_count_kv": _LFM2_HEADS_KV,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "shortconv.l_cache": 3,
        "vocab_size": 65_536,
    }
    tensors = [GhostTensor("token_embd.weight", (n_embd, 65_536), "Q6_K"), _norm("token_embd_norm", n_embd)]
    for index, n_head_kv in enumerate(_LFM2_HEADS_KV):
        block = f"blk.{index}"
        tensors += [_norm(f"{block}.attn_norm", n_embd), _norm(f"{block}.ffn_norm", n_embd)]
        tensors += [
            GhostTensor(f"{block}.ffn_{part}.weight", (n_embd, n_ff), kind) for part in ("gate", "up")
        ]
        tensors.append(GhostTensor(f"{block}.ffn_down.weight", (n_ff, n_embd), kind))
        if n_head_kv:
            widths = (("q", n_embd), ("k", 64 * n_head_kv), ("v", 64 * n_head_kv), ("output", n_embd))
            tensors += [
                GhostTensor(f"{block}.attn_{part}.weight", (n_embd, width), kind) for part, width in widths
            ]
            tensors += [_norm(f"{block}.attn_{part}_norm", 64) for part in "qk"]
        else:
            tensors += [
                GhostTensor(f"{block}.shortconv.conv.weight", (3, n_embd)),
                GhostTensor(f"{block}.shortconv.in_proj.weight", (n_embd, 3 * n_embd), kind),
                GhostTensor(f"{block}.shortconv.out_proj.weight", (n_embd, n_embd), kind),
            ]
    return ghost(_named("lfm2", own), tensors)


def mamba_130m() -> Ghost:
    """Recurrent: a state for every sequence, no cells."""
    n_embd, d_inner, d_state, dt_rank, kind = 768, 1536, 16, 48, "F16"
    own: dict[str, GhostValue] = {
        "context_length": 1_048_576,
        "embedding_length": n_embd,
        "block_count": 24,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": d_inner,
        "ssm.state_size": d_state,
        "ssm.time_step_rank": dt_rank,
        "vocab_size": 50_280,
    }
    tensors = [GhostTensor("token_embd.weight", (n_embd, 50_280), kind), _norm("output_norm", n_embd)]
    for index in range(24):
        block = f"blk.{index}"
        tensors += [
            _norm(f"{block}.attn_norm", n_embd),
            GhostTensor(f"{block}.ssm_in.weight", (n_embd, 2 * d_inner), kind),
            GhostTensor(f"{block}.ssm_conv1d.weight", (4, d_inner)),
            GhostTensor(f"{block}.ssm_conv1d.bias", (d_inner,)),
            GhostTensor(f"{block}.ssm_x.weight", (d_inner, dt_rank + 2 * d_state), kind),
            GhostTensor(f"{block}.ssm_dt.weight", (dt_rank, d_inner), kind),
            GhostTensor(f"{block}.ssm_dt.bias", (d_inner,)),
            GhostTensor(f"{block}.ssm_a", (d_state, d_inner)),
            GhostTensor(f"{block}.ssm_d", (d_inner,)),
            GhostTensor(f"{block}.ssm_out.weight", (d_inner, n_embd), kind),
        ]
    return ghost(_named("mamba", own), tensors)


def bge_small() -> Ghost:
    """An encoder: no cache at all."""
    n_embd, n_ff, kind = 384, 1536, "F16"
    own: dict[str, GhostValue] = {
        "context_length": 512,
        "embedding_length": n_embd,
        "block_count": 12,
        "feed_forward_length": n_ff,
        "attention.head_count": 12,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 2,
        "vocab_size": 30_522,
    }
    tensors = [
        GhostTensor("token_embd.weight", (n_embd, 30_522), kind),
        GhostTensor("token_types.weight", (n_embd, 2)),
        GhostTensor("position_embd.weight", (n_embd, 512)),
        *_norm_and_bias("token_embd_norm", n_embd),
    ]
    for index in range(12):
        block = f"blk.{index}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors += [GhostTensor(f"{block}.{part}.weight", (n_embd, n_embd), kind)]
            tensors += [GhostTensor(f"{block}.{part}.bias", (n_embd,))]
        tensors += [
            *_norm_and_bias(f"{block}.attn_output_norm", n_embd),
            GhostTensor(f"{block}.ffn_up.weight", (n_embd, n_ff), kind),
            GhostTensor(f"{block}.ffn_up.bias", (n_ff,)),
            GhostTensor(f"{block}.ffn_down.weight", (n_ff, n_embd), kind),
            GhostTensor(f"{block}.ffn_down.bias", (n_embd,)),
            *_norm_and_bias(f"{block}.layer_output_norm", n_embd),
        ]
    metadata = _named("bert", own) | {"tokenizer.ggml.token_type_count": 2}
    return ghost(metadata, tensors)


def _norm_and_bias(name: str, size: int) -> list[GhostTensor]:
    return [_norm(name, size), GhostTensor(f"{name}.bias", (size,))]


# fmt: off
GHOSTS: Mapping[str, Callable[[], Ghost]] = {
    "llama-3.2-1b": lambda: dense(Dense(
        architecture="llama", n_layer=16, n_embd=2048, n_head=32, n_head_kv=8, n_ff=8192, n_vocab=128_256,
        kind="Q4_K", is_tied=True)),
    "mistral-7b": lambda: dense(Dense(
        architecture="llama", n_layer=32, n_embd=4096, n_head=32, n_head_kv=8, n_ff=14_336, n_vocab=32_768,
        kind="Q5_K", n_ctx_train=32_768)),
    "qwen2.5-7b": lambda: dense(Dense(
        architecture="qwen2", n_layer=28, n_embd=3584, n_head=28, n_head_kv=4, n_ff=18_944, n_vocab=152_064,
        kind="Q4_0", has_bias=True, n_ctx_train=32_768)),
    "qwen3-4b": lambda: dense(Dense(
        architecture="qwen3", n_layer=36, n_embd=2560, n_head=32, n_head_kv=8, n_ff=9728, n_vocab=151_936,
        kind="Q8_0", n_head_dim=128, is_tied=True, has_head_norms=True, n_ctx_train=40_960)),
    "gemma-3-4b": lambda: dense(Dense(
        architecture="gemma3", n_layer=34, n_embd=2560, n_head=8, n_head_kv=4, n_ff=10_240, n_vocab=262_144,
        kind="Q4_0", n_head_dim=256, is_tied=True, has_head_norms=True, has_post_norms=True,
        more={"attention.sliding_window": 1024})),
    "phi-3-mini": lambda: dense(Dense(
        architecture="phi3", n_layer=32, n_embd=3072, n_head=32, n_head_kv=32, n_ff=8192, n_vocab=32_064,
        kind="Q4_1", is_fused=True, n_ctx_train=4096, more={"attention.sliding_window": 2047})),
    "qwen3-30b-a3b": lambda: dense(Dense(
        architecture="qwen3moe", n_layer=48, n_embd=2048, n_head=32, n_head_kv=4, n_ff=6144, n_vocab=151_936,
        kind="Q4_K", n_head_dim=128, has_head_norms=True, n_expert=128, n_expert_used=8, n_ff_exp=768,
        n_ctx_train=40_960)),
    "deepseek-v2-lite": deepseek_v2_lite,
    "lfm2-1.2b": lfm2_1_2b,
    "mamba-130m": mamba_130m,
    "bge-small": bge_small,
}
# fmt: on
"""Eleven, of nine families and more: by name."""


def write_ghost(folder: Path, name: str) -> Path:
    made = GHOSTS[name]()
    path = folder / f"{name}.gguf"
    with path.open("wb") as file:
        file.write(made.header)
        file.truncate(made.file_bytes)
    return path
