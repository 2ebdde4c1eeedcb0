"""Admission rules for a model's dimensions: bounds in which llama.cpp gives an answer or a clean error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from appliance.gguf.architectures import ARCHITECTURES
from appliance.gguf.header import Header
from appliance.gguf.shape import MAX_LAYERS
from appliance.gguf.values import FLOATS, NumberArray, Value

_MAX_EXPERTS: Final = 1024
"""LLAMA_MAX_EXPERTS; llama.cpp aborts beyond."""
_LEAST_CONTEXT: Final = 32
"""No model has fewer; below, the steps of the warm-up would not fit, and llama.cpp aborts."""
_BLOCK: Final = re.compile(r"blk\.(\d{1,9})\.")
_PARTIAL: Final = frozenset({"deci", "eagle3", "dflash"})
"""Architectures with layers that have no tensors, or drafters that bring only some layers."""
_OWN_BLOCKS: Final = frozenset({"t5", "t5encoder", "wavtokenizer-dec", "qwen3tts", "pockettts", "hrm_text"})
"""Architectures whose layers have other names than `blk.N`, or several stacks of them."""
_EPSILONS: Final = (
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon",
)
_SCALINGS: Final = frozenset({"none", "linear", "yarn", "longrope"})


@dataclass(frozen=True, slots=True)
class _Bound:
    key: str
    least: int
    most: int


_BOUNDS: Final = (
    _Bound("context_length", _LEAST_CONTEXT, 2**26),
    _Bound("vocab_size", 1, 2**24),
    _Bound("embedding_length", 1, 2**17),
    _Bound("embedding_length_out", 1, 2**17),
    _Bound("feed_forward_length", 0, 2**21),
    _Bound("expert_feed_forward_length", 0, 2**21),
    _Bound("expert_shared_feed_forward_length", 0, 2**21),
    _Bound("leading_dense_block_count", 0, MAX_LAYERS),
    _Bound("nextn_predict_layers", 0, MAX_LAYERS),
    _Bound("pooling_type", 0, 4),
    _Bound("attention.head_count", 0, 2**12),
    _Bound("attention.head_count_kv", 0, 2**12),
    _Bound("attention.key_length", 1, 2**14),
    _Bound("attention.value_length", 1, 2**14),
    _Bound("attention.key_length_mla", 1, 2**14),
    _Bound("attention.value_length_mla", 1, 2**14),
    _Bound("attention.key_length_swa", 1, 2**14),
    _Bound("attention.value_length_swa", 1, 2**14),
    _Bound("attention.kv_lora_rank", 0, 2**15),
    _Bound("attention.q_lora_rank", 0, 2**15),
    _Bound("attention.sliding_window", 0, 2**31 - 1),
    _Bound("rope.dimension_count", 0, 2**14),
    _Bound("rope.dimension_count_swa", 0, 2**14),
    _Bound("rope.dimension_sections", 0, 2**14),
    _Bound("rope.scaling.original_context_length", 1, 2**26),
    _Bound("expert_count", 0, _MAX_EXPERTS),
    _Bound("expert_used_count", 0, _MAX_EXPERTS),
    _Bound("expert_shared_count", 0, _MAX_EXPERTS),
    _Bound("expert_group_count", 0, _MAX_EXPERTS),
    _Bound("expert_group_used_count", 0, _MAX_EXPERTS),
    _Bound("ssm.conv_kernel", 1, 64),
    _Bound("ssm.inner_size", 1, 2**20),
    _Bound("ssm.state_size", 1, 2**14),
    _Bound("ssm.time_step_rank", 0, 2**16),
    _Bound("ssm.group_count", 0, 2**14),
    _Bound("wkv.head_size", 1, 2**14),
    _Bound("shortconv.l_cache", 1, 64),
)
"""For numbers and for each item of an array; keys stand behind the architecture. Generous: the largest models
of today stay a factor of four below.
"""


def architecture(header: Header) -> str | None:
    name = header.architecture
    if name is None:
        return "it does not say its architecture (general.architecture)"
    if name in ARCHITECTURES:
        return None
    return f"architecture {name[:64]!r} is not known to this llama.cpp"


def layers(header: Header) -> str | None:
    count = _integer(header, "block_count")
    if count is None:
        return f"{header.architecture}.block_count is missing or no number"
    if 1 <= count <= MAX_LAYERS:
        return None
    return f"{header.architecture}.block_count is {count}, not one of 1 to {MAX_LAYERS}"


def blocks(header: Header) -> str | None:
    """The layers that have tensors are those that are announced."""
    if header.architecture in _OWN_BLOCKS:
        return None
    count = _integer(header, "block_count") or 0
    found = {int(match[1]) for tensor in header.tensors if (match := _BLOCK.match(tensor.name))}
    surplus = found - set(range(count))
    if surplus:
        return f"it announces {count} layers and has tensors of layer {min(surplus)}"
    nextn = _integer(header, "nextn_predict_layers") or 0
    if header.architecture in _PARTIAL or nextn:
        # Layers that predict further tokens are left out of some files, and stand alone in others.
        return None if found else "it has no layers"
    missing = set(range(count)) - found
    return f"it announces {count} layers and has no tensor of layer {min(missing)}" if missing else None


def bounds(header: Header) -> str | None:
    for bound in _BOUNDS:
        key = f"{header.architecture}.{bound.key}"
        value = header.metadata.get(key)
        if value is None:
            continue
        for one in _integers(value):
            if one is None:
                return f"{key} is no number"
            if not bound.least <= one <= bound.most:
                return f"{key} is {one}, not one of {bound.least} to {bound.most}"
    return None


def heads(header: Header) -> str | None:
    """Keys and values are shared by whole groups of heads, and a head has a width."""
    count = _integer(header, "block_count") or 0
    query = _per_layer(header, "attention.head_count", count)
    shared = _per_layer(header, "attention.head_count_kv", count) or query
    if query is None or shared is None:
        return None
    if len(query) != count or len(shared) != count:
        return f"it has {count} layers and counts heads for {len(query)} and {len(shared)}"
    for layer, (one, kv) in enumerate(zip(query, shared, strict=True)):
        if kv > 0 and one > 0 and (kv > one or one % kv):
            return f"layer {layer} has {one} heads, which {kv} heads of keys and values do not divide"
    width = _integer(header, "embedding_length")
    if width is not None and max(query) > width:
        return f"it has {max(query)} heads in {width} dimensions"
    return None


def rope(header: Header) -> str | None:
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type")
    if scaling is not None and scaling not in _SCALINGS:
        return f"its RoPE scaling, {str(scaling)[:64]!r}, is not one of {', '.join(sorted(_SCALINGS))}"
    turned = _integer(header, "rope.dimension_count")
    if turned is None:
        return None
    if turned % 2:
        return f"RoPE turns {turned} dimensions, an odd number"
    key_width = _integer(header, "attention.key_length")
    if key_width is not None and turned > key_width:
        return f"RoPE turns {turned} dimensions of keys that have {key_width}"
    return None


def epsilons(header: Header) -> str | None:
    for name in _EPSILONS:
        key = f"{header.architecture}.{name}"
        value = header.number(key)
        if value is not None and not 1e-12 <= value <= 0.1:
            return f"{key} is {value:g}, not one of 1e-12 to 0.1"
    return None


def experts(header: Header) -> str | None:
    """What llama.cpp asserts of a mixture of experts."""
    count = _integer(header, "expert_count") or 0
    groups = _integer(header, "expert_group_count") or 0
    used = max((one or 0 for one in _integers(_value(header, "expert_used_count"))), default=0)
    if header.architecture in {"hunyuan-dense", "hunyuan_vl"} and count <= 1:
        return None
    if count == 0:
        return "it has no experts and uses some" if used or groups else None
    if not 1 <= used <= count:
        return f"it has {count} experts and uses {used}"
    if groups >= count:
        return f"it has {count} experts in {groups} groups"
    if groups > 1:
        return _group_fault(header, count, groups)
    return None


def _group_fault(header: Header, count: int, groups: int) -> str | None:
    used = _integer(header, "expert_group_used_count") or 0
    if count % groups:
        return f"{groups} groups do not divide its {count} experts"
    return None if 0 < used < groups else f"it has {groups} groups of experts and uses {used}"


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────


def _value(header: Header, key: str) -> Value | None:
    return header.metadata.get(f"{header.architecture}.{key}")


def _integer(header: Header, key: str) -> int | None:
    return header.integer(f"{header.architecture}.{key}")


def _integers(value: Value | None) -> list[int | None]:
    """The integers of a number or an array; None stands for what is no integer."""
    if value is None:
        return []
    if isinstance(value, NumberArray) and value.item_type not in FLOATS:
        return [int(one) for one in value]
    return [value if isinstance(value, int) and not isinstance(value, bool) else None]


def _per_layer(header: Header, key: str, count: int) -> list[int] | None:
    value = _value(header, key)
    found = [one for one in _integers(value) if one is not None]
    if not found:
        return None
    return found if isinstance(value, NumberArray) else found * count
