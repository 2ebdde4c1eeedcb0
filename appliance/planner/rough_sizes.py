"""Sizes by formula, from a model's header alone: for a question that must be answered at once, and where no
dry run can be made. Errs to the large side. Pure.

    cells    the context, padded to 256; a sliding layer keeps its window and what is computed at once
    cache    cells of each layer x its row of keys and values, for each slot; states of recurrent layers
    compute  ubatch x (feed-forward + residual stream + mask), and the logits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from appliance.gguf.shape import ModelShape
from appliance.planner.facts import Accelerator, Footprint
from appliance.planner.ladder import Size
from appliance.planner.steps import CELLS, Traits
from appliance.wire.messages import Placement

_MIB: Final = 1024 * 1024
_F32: Final = 4
_BLOCK: Final = 32
_CACHE_BLOCK_BYTES: Final = {
    "f32": 128, "f16": 64, "bf16": 64, "q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18,
    "iq4_nl": 18,
}  # fmt: skip
"""Bytes of 32 numbers."""
_DRAFTED: Final = 64
"""Tokens that are verified in one step beside those that are wanted: each is a row of logits."""
_PROCESS: Final = 64 * _MIB
"""Interpreter and libraries (40 to 60 MB), threads."""
_TOKEN_BYTES: Final = 128
"""Of the vocabulary, per token: its text, and its places in tables."""
_DRIVER: Final = 400 * _MIB
"""CUDA's context and libraries: 300 to 600 MB until it is measured on the board."""
_SWA_PATTERNS: Final = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2, "exaone4": 4}
"""Every how many layers one sees everything, where llama.cpp knows it and the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Of one model."""

    shape: ModelShape
    size_bytes: int
    """Of all its tensors."""


def traits_of(shape: ModelShape) -> Traits:
    heads = (shape.n_embd_head_k or 0, shape.n_embd_head_v or 0)
    blocks = all(head > 0 and head % _BLOCK == 0 for head in heads)
    keeps_cells = any(shape.n_head_kv) and shape.is_causal
    return Traits(
        n_ctx_train=shape.n_ctx_train,
        n_layer=shape.n_layer,
        quantizes_cache=blocks and keeps_cells and shape.kv_lora_rank is None,
    )


def rough_size(weights: Weights, accelerator: Accelerator) -> Size:
    def size(placements: Sequence[Placement]) -> list[Footprint]:
        return [footprint(weights, accelerator, placement) for placement in placements]

    return size


def footprint(weights: Weights, accelerator: Accelerator, placement: Placement) -> Footprint:
    shape = weights.shape
    on_gpu = _on_gpu(shape, placement) if accelerator is not Accelerator.NONE else 0.0
    outputs = placement.n_seq_max + _DRAFTED
    logits = outputs * (shape.n_vocab or 0) * _F32
    cache = cache_bytes(shape, placement)
    compute = logits + placement.n_ubatch * _per_token(shape, placement)
    driver = _DRIVER if on_gpu else 0
    device = int(on_gpu * (weights.size_bytes + cache)) + compute + driver if on_gpu else 0
    return Footprint(
        weights_bytes=weights.size_bytes,
        mapped_bytes=0,
        cache_bytes=cache,
        compute_bytes=compute,
        output_bytes=logits,
        process_bytes=_PROCESS + _TOKEN_BYTES * (shape.n_vocab or 0) + driver,
        device_bytes=device if accelerator is Accelerator.DISCRETE else 0,
    )


def cache_bytes(shape: ModelShape, placement: Placement) -> int:
    """With every cell touched."""
    cells = _padded(placement.n_ctx_seq)
    window = min(cells, _padded(shape.n_swa + placement.n_ubatch)) if shape.n_swa else cells
    row_k, row_v = _CACHE_BLOCK_BYTES[placement.type_k], _CACHE_BLOCK_BYTES[placement.type_v]
    total = 0
    for layer in range(len(shape.n_head_kv)):
        keys, values = shape.kv_row(layer)
        held = window if _slides(shape, layer) else cells
        total += held * (keys * row_k + values * row_v) // _BLOCK
    return placement.n_seq_max * (total + _state_bytes(shape))


def _state_bytes(shape: ModelShape) -> int:
    """Of one sequence, over all recurrent layers."""
    layers = sum(1 for heads in shape.n_head_kv if heads == 0)
    convolution = max(0, shape.ssm_d_conv - 1) * (
        shape.ssm_d_inner + 2 * shape.ssm_n_group * shape.ssm_d_state
    )
    short = max(0, shape.shortconv_l_cache - 1) * (shape.n_embd or 0)
    return layers * _F32 * (convolution + shape.ssm_d_inner * shape.ssm_d_state + short)


def _slides(shape: ModelShape, layer: int) -> bool:
    if not shape.n_swa:
        return False
    pattern = shape.swa_pattern
    if isinstance(pattern, tuple):
        return layer < len(pattern) and pattern[layer]
    every = pattern or _SWA_PATTERNS.get(shape.architecture, 0)
    return every > 1 and layer % every < every - 1


def _per_token(shape: ModelShape, placement: Placement) -> int:
    """Of the compute buffer, for each token computed at once."""
    feed_forward = max(shape.n_ff, default=0) * max(1, shape.n_expert_used)
    return _F32 * (feed_forward + 2 * (shape.n_embd or 0) + _padded(placement.n_ctx_seq))


def _on_gpu(shape: ModelShape, placement: Placement) -> float:
    """The part of the layers."""
    layers = shape.n_layer + 1
    wanted = layers if placement.n_gpu_layers < 0 else placement.n_gpu_layers
    return min(wanted, layers) / layers


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS
