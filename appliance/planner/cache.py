"""What a context keeps of its sequences: cells of keys and values, windows of them, compressed ones, states.
Pure; the rules of llama.cpp's `llama-kv-cache*.cpp` and `llama-memory-recurrent.cpp`.

A layer keeps one of four things:

    all cells     n_ctx of a slot, rounded up to 256
    a window      layers with a sliding window keep it and one pass (`swa_full` off)
    compressed    MLA: one row of `kv_lora_rank + rope`, keys only
    a state       recurrent layers: a fixed size for every sequence, 32-bit

and some share the cells of an earlier one, and keep nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from appliance.gguf.architectures import ENCODERS
from appliance.gguf.header import Header
from appliance.gguf.shape import ModelShape, read_shape
from appliance.gguf.values import NumberArray

VALUE_BYTES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "f32": 4.0,
        "f16": 2.0,
        "bf16": 2.0,
        "q8_0": 34 / 32,
        "q5_1": 24 / 32,
        "q5_0": 22 / 32,
        "q4_1": 20 / 32,
        "q4_0": 18 / 32,
        "iq4_nl": 18 / 32,
    }
)
"""Of a cached number, by the type's name: block size over 32 values."""

_STEP: Final = 256
_STATE_BYTES: Final = 4

_FULL_EVERY: Final[Mapping[str, int]] = MappingProxyType(
    {
        "gemma2": 2,
        "gemma3": 6,
        "gemma3n": 5,
        "cohere2": 4,
        "gpt-oss": 2,
        "olmo2": 4,
        "exaone4": 4,
        "llama4": 4,
        "smallthinker": 4,
        "plamo3": 8,
    }
)
"""Of architectures with a window: every how many layers one is full, where the file does not say."""
_FULL_FIRST: Final = frozenset({"smallthinker"})
_ALL_SLIDE: Final = frozenset({"lfm2", "lfm2moe"})
_GEMMA3N_OWN: Final = 20
"""Layers of Gemma 3n that keep cells of their own."""
_NO_WINDOW: Final = frozenset(
    {"phi3", "phimoe", "mistral3", "llama", "qwen2", "qwen3", "qwen2moe", "qwen3moe"}
)
"""They may name a window; llama.cpp does not use it."""
_NO_CACHE: Final = ENCODERS | {"dream", "llada", "llada-moe", "rnd1", "wavtokenizer-dec"}


class CacheShape(Struct, frozen=True, kw_only=True):
    """Sizes of a context, as `engine/context_shape.py` has them."""

    n_ctx_seq: int
    n_slots: int
    n_ubatch: int
    n_outputs: int
    type_k: str = "f16"
    type_v: str = "f16"
    is_pooled: bool = False
    """One stream for all slots."""

    @property
    def cells(self) -> int:
        """Of a stream."""
        whole = padded(self.n_ctx_seq * self.n_slots)
        return whole if self.is_pooled else padded(whole // self.n_slots)

    @property
    def streams(self) -> int:
        return 1 if self.is_pooled else self.n_slots

    def window(self, n_swa: int) -> int:
        """Cells of a stream in a layer with a sliding window."""
        of_slots = n_swa * (self.n_slots if self.is_pooled else 1)
        n_ubatch = min(self.n_ubatch, padded(self.n_ctx_seq * self.n_slots))
        return padded(min(self.cells, of_slots + n_ubatch))


def padded(count: int) -> int:
    return -(-count // _STEP) * _STEP


def cache_bytes(header: Header, shape: CacheShape) -> int:
    model = read_shape(header)
    if model.architecture in _NO_CACHE:
        return 0
    n_layer = max(0, model.n_layer - model.n_layer_nextn)
    slides, shared = sliding_layers(header, model), _first_shared(header, model)
    total = 0.0
    for layer in range(n_layer):
        if _has_state(header, model, layer):
            total += _STATE_BYTES * state_numbers(header, model) * shape.n_slots
        if layer >= shared or not _has_cells(header, model, layer):
            continue
        keys, values = _row(header, model, layer, slides=slides[layer])
        cells = shape.window(model.n_swa) if slides[layer] else shape.cells
        row = keys * VALUE_BYTES[shape.type_k] + values * VALUE_BYTES[shape.type_v]
        total += row * cells * shape.streams
    return int(total)


def sliding_layers(header: Header, model: ModelShape) -> list[bool]:
    """Which layers have a sliding window."""
    if not model.n_swa or model.architecture in _NO_WINDOW:
        return [False] * model.n_layer
    pattern = model.swa_pattern
    if isinstance(pattern, tuple):
        return [pattern[layer] if layer < len(pattern) else False for layer in range(model.n_layer)]
    if model.architecture in _ALL_SLIDE:
        return [not _has_state(header, model, layer) for layer in range(model.n_layer)]
    every = pattern or _FULL_EVERY.get(model.architecture)
    if not every:
        return [False] * model.n_layer
    full = 0 if model.architecture in _FULL_FIRST else every - 1
    return [layer % every != full for layer in range(model.n_layer)]


def state_numbers(header: Header, model: ModelShape) -> int:
    """Of one recurrent layer and one sequence."""
    width, name = model.n_embd or 0, model.architecture
    head = header.integer(f"{name}.wkv.head_size")
    if head:
        return width * ((header.integer(f"{name}.token_shift_count") or 2) + head)
    if model.shortconv_l_cache:
        return width * (model.shortconv_l_cache - 1)
    convolved = max(0, model.ssm_d_conv - 1) * (model.ssm_d_inner + 2 * model.ssm_n_group * model.ssm_d_state)
    return convolved + model.ssm_d_state * model.ssm_d_inner


def _row(header: Header, model: ModelShape, layer: int, *, slides: bool) -> tuple[int, int]:
    if model.kv_lora_rank is not None and header.integer(f"{model.architecture}.attention.key_length_mla"):
        return model.kv_lora_rank + (model.n_rot or 0), 0
    heads = model.n_head_kv[layer] if layer < len(model.n_head_kv) else 0
    keys, values = model.n_embd_head_k or 0, model.n_embd_head_v or 0
    if slides:
        keys = header.integer(f"{model.architecture}.attention.key_length_swa") or keys
        values = header.integer(f"{model.architecture}.attention.value_length_swa") or values
    return heads * keys, heads * values


def _first_shared(header: Header, model: ModelShape) -> int:
    """The first of the layers at the end that use the cells of earlier ones."""
    if model.architecture == "gemma3n":
        return _GEMMA3N_OWN
    return model.n_layer - (header.integer(f"{model.architecture}.attention.shared_kv_layers") or 0)


def _has_cells(header: Header, model: ModelShape, layer: int) -> bool:
    if model.is_recurrent:
        return False
    if model.architecture == "falcon-h1":
        return True
    return not _has_state(header, model, layer)


def _has_state(header: Header, model: ModelShape, layer: int) -> bool:
    if model.is_recurrent or model.architecture == "falcon-h1":
        return True
    if not model.is_hybrid:
        return False
    every = header.integer(f"{model.architecture}.full_attention_interval")
    if every:
        return (layer + 1) % every != 0
    told = header.metadata.get(f"{model.architecture}.attention.head_count_kv")
    is_attention = not isinstance(told, NumberArray) or (layer < len(told) and told[layer] > 0)
    if model.architecture.startswith("nemotron_h"):
        # Layers of these have one of three things; a feed-forward keeps nothing.
        return not is_attention and not (layer < len(model.n_ff) and model.n_ff[layer] > 0)
    return not is_attention
