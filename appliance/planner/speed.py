"""The most tokens per second that a board's memory allows: each token reads its weights once. Pure."""

from __future__ import annotations

from typing import Final

from appliance.gguf.header import Header

_EXPERTS: Final = "_exps."
_LOOKED_UP: Final = ("token_embd.", "per_layer_token_embd.")


def bytes_per_token(header: Header, *, n_expert: int, n_expert_used: int) -> int:
    """Weights that decoding one token reads. Of embeddings it reads one row, unless they are the output layer
    as well; of experts those that are chosen.
    """
    has_output = any(tensor.name == "output.weight" for tensor in header.tensors)
    read = 0
    for tensor in header.tensors:
        if tensor.name.startswith(_LOOKED_UP) and (has_output or not tensor.name.startswith("token_embd.")):
            continue
        if _EXPERTS in tensor.name and n_expert:
            read += tensor.size_bytes * min(n_expert_used, n_expert) // n_expert
        else:
            read += tensor.size_bytes
    return read


def decode_bound(bandwidth_bytes_per_s: int, read_bytes: int) -> float | None:
    """Tokens per second of one sequence; None: nothing is read."""
    return bandwidth_bytes_per_s / read_bytes if read_bytes else None
