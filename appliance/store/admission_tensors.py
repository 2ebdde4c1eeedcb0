"""Admission rules for tensors: types that llama.cpp computes with, and the shape of the embedding."""

from __future__ import annotations

import re
from typing import Final

from appliance.gguf.header import Header, TensorInfo
from appliance.gguf.shape import vocabulary_size

_EMBEDDING: Final = "token_embd.weight"
_WITHOUT_EMBEDDING: Final = frozenset(
    {"eagle3", "dflash", "gemma4-assistant", "wavtokenizer-dec", "qwen3tts", "pockettts"}
)
"""Drafters that share their target's, and speech models, whose tables have other shapes."""
_NUMBER_TABLES: Final = re.compile(r"d2t|blk\.\d+\.ffn_gate_tid2eid\.weight")
"""Tables of ids: never multiplied, so they may hold integers."""
_ELEMENTWISE: Final = re.compile(
    r".*_norm\.(?:weight|bias)|.*\.(?:ssm_conv1d\.weight|ssm_a|ssm_d|shortconv\.conv\.weight)"
)
"""Read as 32-bit floats by kernels that abort at anything else."""


def embedding(header: Header) -> str | None:
    """A row of the embedding's width for each token."""
    if header.architecture in _WITHOUT_EMBEDDING:
        return None
    found = next((tensor for tensor in header.tensors if tensor.name == _EMBEDDING), None)
    if found is None:
        return f"tensor '{_EMBEDDING}' is missing"
    width = header.integer(f"{header.architecture}.embedding_length")
    expected = (width, vocabulary_size(header))
    if found.shape == expected:
        return None
    return f"tensor '{_EMBEDDING}' has shape {found.shape}, expected {expected} (width, vocabulary)"


def types(header: Header) -> str | None:
    return next((reason for tensor in header.tensors if (reason := _type_fault(tensor)) is not None), None)


def _type_fault(tensor: TensorInfo) -> str | None:
    if _NUMBER_TABLES.fullmatch(tensor.name):
        return None
    if not tensor.type.multiplies:
        return f"tensor '{tensor.name}' has type {tensor.type.name}, which llama.cpp cannot compute with"
    if tensor.type.name != "F32" and (len(tensor.shape) == 1 or _ELEMENTWISE.fullmatch(tensor.name)):
        return f"tensor '{tensor.name}' has type {tensor.type.name}; norms, biases and their like must be F32"
    return None
