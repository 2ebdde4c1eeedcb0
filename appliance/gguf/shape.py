"""A model's dimensions: what a planner needs to tell its memory, and a person its size."""

from __future__ import annotations

from math import prod
from typing import Final

from msgspec import Struct

from appliance.gguf.architectures import HYBRID, RECURRENT
from appliance.gguf.header import Header
from appliance.gguf.values import FLOATS, NumberArray

MAX_LAYERS: Final = 512
"""llama.cpp's own bound (LLAMA_MAX_LAYERS); it aborts beyond."""
_DEFAULT_ROPE_BASE: Final = 10_000.0


class ModelShape(Struct, frozen=True, kw_only=True):
    """None: the file does not say. Per-layer values have one item per layer."""

    architecture: str
    n_layer: int
    n_layer_nextn: int
    """Layers at the end that predict further tokens (MTP); counted in `n_layer`."""
    n_ctx_train: int | None
    n_embd: int | None
    n_embd_out: int | None
    n_vocab: int | None
    n_ff: tuple[int, ...]
    n_head: tuple[int, ...]
    n_head_kv: tuple[int, ...]
    """0 where a layer keeps no KV cells (recurrent layers of a hybrid)."""
    n_embd_head_k: int | None
    n_embd_head_v: int | None
    kv_lora_rank: int | None
    """With it a layer caches `kv_lora_rank + n_rot` numbers per token, keys only (MLA)."""
    n_rot: int | None
    rope_freq_base: float
    rope_scaling: str | None
    n_swa: int
    """Width of the sliding window; 0: all layers see everything."""
    swa_pattern: int | tuple[bool, ...] | None
    """Every how many layers one is full, or which layers slide."""
    n_expert: int
    n_expert_used: int
    ssm_d_conv: int
    ssm_d_inner: int
    ssm_d_state: int
    ssm_n_group: int
    shortconv_l_cache: int
    is_recurrent: bool
    is_hybrid: bool
    is_causal: bool
    pooling_type: int | None

    def kv_row(self, layer: int) -> tuple[int, int]:
        """Numbers of keys and of values that one token leaves in the cache of `layer`."""
        heads = self.n_head_kv[layer]
        if self.kv_lora_rank is not None:
            return self.kv_lora_rank + (self.n_rot or 0), 0
        return heads * (self.n_embd_head_k or 0), heads * (self.n_embd_head_v or 0)

    @property
    def kv_bytes_per_token(self) -> int:
        """What one token leaves in the caches of all layers, as 16-bit numbers."""
        return 2 * sum(sum(self.kv_row(layer)) for layer in range(len(self.n_head_kv)))


def read_shape(header: Header) -> ModelShape:
    """Of a header that passed the admission check; of another it may be senseless, never an exception."""
    keys = _Keys(header)
    n_layer = min(max(0, keys.count("block_count")), MAX_LAYERS)
    n_embd = keys.integer("embedding_length")
    n_head = keys.per_layer("attention.head_count", n_layer, 0)
    recurrent = keys.architecture in RECURRENT
    width = n_embd // max(n_head) if n_embd and n_head and max(n_head) > 0 else None
    key_width = keys.integer("attention.key_length") or width
    return ModelShape(
        architecture=keys.architecture,
        n_layer=n_layer,
        n_layer_nextn=keys.count("nextn_predict_layers"),
        n_ctx_train=keys.integer("context_length"),
        n_embd=n_embd,
        n_embd_out=keys.integer("embedding_length_out"),
        n_vocab=vocabulary_size(header),
        n_ff=keys.per_layer("feed_forward_length", n_layer, 0),
        n_head=n_head,
        n_head_kv=(0,) * n_layer if recurrent else keys.per_layer("attention.head_count_kv", n_layer, n_head),
        n_embd_head_k=key_width,
        n_embd_head_v=keys.integer("attention.value_length") or width,
        kv_lora_rank=keys.integer("attention.kv_lora_rank") or None,
        n_rot=keys.integer("rope.dimension_count") or key_width,
        rope_freq_base=keys.number("rope.freq_base") or _DEFAULT_ROPE_BASE,
        rope_scaling=header.text(f"{keys.architecture}.rope.scaling.type"),
        n_swa=keys.count("attention.sliding_window"),
        swa_pattern=keys.swa_pattern(),
        n_expert=keys.count("expert_count"),
        n_expert_used=max(keys.per_layer("expert_used_count", n_layer, 0), default=0),
        ssm_d_conv=keys.count("ssm.conv_kernel"),
        ssm_d_inner=keys.count("ssm.inner_size"),
        ssm_d_state=keys.count("ssm.state_size"),
        ssm_n_group=keys.count("ssm.group_count"),
        shortconv_l_cache=keys.count("shortconv.l_cache"),
        is_recurrent=recurrent,
        is_hybrid=keys.architecture in HYBRID,
        is_causal=header.truth(f"{keys.architecture}.attention.causal") is not False,
        pooling_type=keys.integer("pooling_type"),
    )


def vocabulary_size(header: Header) -> int | None:
    """How many tokens the file lists, or says to have."""
    tokens = header.strings("tokenizer.ggml.tokens")
    return len(tokens) if tokens is not None else header.integer(f"{header.architecture}.vocab_size")


def parameter_count(header: Header) -> int:
    return sum(prod(tensor.shape) for tensor in header.tensors)


def weight_bytes(header: Header) -> int:
    """What the tensors take, without header and padding."""
    return sum(tensor.size_bytes for tensor in header.tensors)


class _Keys:
    """The metadata under an architecture's prefix. What has another type than expected is as if it were
    absent.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self.architecture = header.architecture or ""

    def integer(self, key: str) -> int | None:
        return self._header.integer(f"{self.architecture}.{key}")

    def number(self, key: str) -> float | None:
        return self._header.number(f"{self.architecture}.{key}")

    def count(self, key: str) -> int:
        return self.integer(key) or 0

    def per_layer(self, key: str, n_layer: int, default: int | tuple[int, ...]) -> tuple[int, ...]:
        """One number for all layers, or an array with one for each."""
        value = self._header.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, NumberArray) and value.item_type not in FLOATS:
            return tuple(int(one) for one in value)
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,) * n_layer
        return default if isinstance(default, tuple) else (default,) * n_layer

    def swa_pattern(self) -> int | tuple[bool, ...] | None:
        value = self._header.metadata.get(f"{self.architecture}.attention.sliding_window_pattern")
        if isinstance(value, NumberArray):
            return tuple(bool(one) for one in value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
