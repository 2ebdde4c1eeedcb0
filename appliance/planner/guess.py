"""A model's dimensions, guessed from its size: for one of which only a manifest is known. Errs to the large
side; who has read a header needs no guess. Pure.

Of today's models from 0.1 to 70 billion parameters, what a token leaves in the KV cache grows with about the
cube root of the parameters: 22 KiB at 135 million, 112 at 3, 128 at 8, 320 at 70 billion (f16, grouped
attention). Half as much again is added.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from appliance.gguf.header import DEFAULT_ALIGNMENT, Header, TensorInfo
from appliance.gguf.tensor_types import TENSOR_TYPES

_REFERENCE: Final = 8_000_000_000
_CELL_BYTES: Final = 192 * 1024
"""Of one token at so many parameters: keys and values of all layers, f16."""
_ARCHITECTURE: Final = "llama"
_BLOCK: Final = 32
_F32: Final = 0
_N_EMBD: Final = 4096
_N_FF: Final = 16_384
_N_VOCAB: Final = 262_144
VOCABULARY_BYTES: Final = 128 * 1024 * 1024
"""Tokens and merges of a vocabulary as large as any."""
_LEAST_BITS: Final = 4
"""Per weight, where the parameters are not told: fewer bits are more parameters."""
_SCALES: Final = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_PARAMETERS: Final = re.compile(r"(?:(\d{1,3})x)?(\d{1,6}(?:\.\d{1,6})?)([KMBT])", re.IGNORECASE)


def parameters_of(text: str | None, size_bytes: int) -> int:
    """`135M`, `8x7B`; or from the size of the weights."""
    match = _PARAMETERS.fullmatch(text.strip()) if text else None
    if match is None:
        return size_bytes * 8 // _LEAST_BITS
    return round(int(match[1] or 1) * float(match[2]) * _SCALES[match[3].upper()])


def guessed_header(n_params: int, size_bytes: int, *, n_ctx_train: int | None) -> Header:
    """One layer that has the weights and the cells of all."""
    scale = (max(1, n_params) / _REFERENCE) ** (1 / 3)
    head = -(-int(_CELL_BYTES * scale) // (4 * _BLOCK)) * _BLOCK
    facts: dict[str, str | int | None] = {
        "general.architecture": _ARCHITECTURE,
        f"{_ARCHITECTURE}.block_count": 1,
        f"{_ARCHITECTURE}.context_length": n_ctx_train,
        f"{_ARCHITECTURE}.embedding_length": int(_N_EMBD * scale),
        f"{_ARCHITECTURE}.feed_forward_length": int(_N_FF * scale),
        f"{_ARCHITECTURE}.attention.head_count": 1,
        f"{_ARCHITECTURE}.attention.head_count_kv": 1,
        f"{_ARCHITECTURE}.attention.key_length": head,
        f"{_ARCHITECTURE}.attention.value_length": head,
        f"{_ARCHITECTURE}.vocab_size": _N_VOCAB,
    }
    whole = TensorInfo(
        "blk.0.ffn_gate.weight", (size_bytes, 1), TENSOR_TYPES[_F32], 0, size_bytes, size_bytes
    )
    return Header(
        version=3,
        metadata=MappingProxyType({key: value for key, value in facts.items() if value is not None}),
        types=MappingProxyType({}),
        tensors=(whole,),
        alignment=DEFAULT_ALIGNMENT,
        data_offset=0,
        file_bytes=size_bytes,
    )
