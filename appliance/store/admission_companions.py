"""Admission rules for what goes with a model: LoRA adapters and multimodal projectors."""

from __future__ import annotations

from typing import Final

from appliance.gguf.architectures import ARCHITECTURES
from appliance.gguf.header import Header
from appliance.gguf.shape import MAX_LAYERS
from appliance.gguf.values import ValueType

_ADAPTER_TYPES: Final = {"adapter.type": ValueType.STRING, "adapter.lora.alpha": ValueType.FLOAT32}
"""llama.cpp reads them without looking at their types, and aborts at others."""
_INVOCATION: Final = "adapter.alora.invocation_tokens"


def adapter_metadata(header: Header) -> str | None:
    if header.architecture not in ARCHITECTURES:
        return f"architecture {str(header.architecture)[:64]!r} of the adapter is not known to this llama.cpp"
    for key, kind in _ADAPTER_TYPES.items():
        if header.types.get(key, kind) is not kind:
            return f"{key} has the type {header.types[key].name.lower()}, not {kind.name.lower()}"
    if header.text("adapter.type") != "lora":
        return f"its adapter.type is {header.text('adapter.type')!r}; only 'lora' can be applied"
    tokens = header.metadata.get(_INVOCATION)
    if tokens is not None:
        found = header.numbers(_INVOCATION)
        if found is None or found.item_type is not ValueType.UINT32:
            return f"{_INVOCATION} is no array of 32-bit numbers"
    return None


def adapter_pairs(header: Header) -> str | None:
    """Each tensor is one half of a pair whose ranks agree."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    halves = {name for name in shapes if not name.endswith("_norm.weight")}
    for name in sorted(halves):
        stem, _, half = name.rpartition(".")
        if half not in {"lora_a", "lora_b"}:
            return f"tensor '{name}' is no half of a LoRA pair"
        if f"{stem}.lora_a" not in shapes or f"{stem}.lora_b" not in shapes:
            return f"tensor '{name}' has no other half"
        a, b = shapes[f"{stem}.lora_a"], shapes[f"{stem}.lora_b"]
        if len(a) != len(b) or len(a) < 2:
            return f"the pair '{stem}' is no pair of matrices: {a}, {b}"
        # The embedding's halves stand the other way round.
        ranks = (a[0], b[0]) if stem.endswith("token_embd.weight") else (a[1], b[0])
        if ranks[0] != ranks[1]:
            return f"the ranks of the pair '{stem}' differ: {a}, {b}"
    return None if halves else "it is an adapter without a tensor"


_PROJECTOR_TYPES: Final = {
    "clip.has_vision_encoder": ValueType.BOOL,
    "clip.has_audio_encoder": ValueType.BOOL,
    "clip.projector_type": ValueType.STRING,
}
"""clip.cpp reads them without looking at their types, and aborts at others."""
_PROJECTOR_BOUNDS: Final = {
    "image_size": (1, 2**16),
    "patch_size": (1, 2**12),
    "num_mel_bins": (1, 2**12),
    "embedding_length": (1, 2**17),
    "feed_forward_length": (0, 2**21),
    "block_count": (0, MAX_LAYERS),
    "projection_dim": (0, 2**17),
    "attention.head_count": (0, 2**12),
}
"""Of the vision and the audio tower: what clip.cpp divides by and allocates with."""


def projector_metadata(header: Header) -> str | None:
    """What clip.cpp needs to know to begin. The probe loads no projector, since nothing serves one yet: until
    then the static check is all there is.
    """
    for key, kind in _PROJECTOR_TYPES.items():
        if header.types.get(key, kind) is not kind:
            return f"{key} has the type {header.types[key].name.lower()}, not {kind.name.lower()}"
    # LLaVA's old files name no tower, and say by their tensors what they are.
    return None if header.tensors else "it is a projector without a tensor"


def projector_bounds(header: Header) -> str | None:
    for tower in ("vision", "audio"):
        for name, (least, most) in _PROJECTOR_BOUNDS.items():
            key = f"clip.{tower}.{name}"
            if key not in header.metadata:
                continue
            value = header.integer(key)
            if value is None:
                return f"{key} is no number"
            if not least <= value <= most:
                return f"{key} is {value}, not one of {least} to {most}"
        epsilon = header.number(f"clip.{tower}.attention.layer_norm_epsilon")
        if epsilon is not None and not 0 <= epsilon <= 0.1:
            return f"clip.{tower}.attention.layer_norm_epsilon is {epsilon:g}, not one of 0 to 0.1"
    return None


def projector_tensors(header: Header) -> str | None:
    for tensor in header.tensors:
        if not tensor.type.multiplies:
            return f"tensor '{tensor.name}' has type {tensor.type.name}, which llama.cpp cannot compute with"
    return None
