"""How large a quantised model becomes, before it is made: an upper bound, to keep room for it.

llama.cpp chooses a type for each tensor (llama-quant.cpp). What bounds it:

1. One dimension (norms, biases): F32 at most.
2. To F32, F16, BF16: that type, for every matrix.
3. Rows that no block fits (not a multiple of 32): F16, or as they are.
4. To Q8_0 and MXFP4_MOE; embeddings and output; rows that no K block fits (256): Q8_0.
5. Everything else is of mixes whose largest type is Q6_K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.gguf.header import Header, TensorInfo
from appliance.gguf.tensor_types import TENSOR_TYPES, TensorType

_BY_NAME: Final = {one.name: one for one in TENSOR_TYPES.values()}
_PLAIN: Final = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_EIGHT_BITS: Final = frozenset({"q8_0", "mxfp4_moe"})
_LARGE: Final = ("token_embd.", "per_layer_token_embd.", "output.")


def quantized_bytes(headers: Sequence[Header], kind: str) -> int:
    """Of one model, whatever number of files it has, in a file of llama.cpp's type `kind`: at least as much
    as that takes.
    """
    folded = kind.casefold()
    return sum(
        header.data_offset
        + sum(_tensor_bytes(tensor, folded) + header.alignment for tensor in header.tensors)
        for header in headers
    )


def _tensor_bytes(tensor: TensorInfo, kind: str) -> int:
    if len(tensor.shape) == 1:  # 1
        return tensor.elements * 4
    if kind in _PLAIN:  # 2
        return _bytes_as(tensor, _BY_NAME[_PLAIN[kind]])
    if tensor.shape[0] % 32:  # 3
        return max(_bytes_as(tensor, _BY_NAME["F16"]), tensor.size_bytes)
    if kind in _EIGHT_BITS or tensor.name.startswith(_LARGE) or tensor.shape[0] % 256:  # 4
        return _bytes_as(tensor, _BY_NAME["Q8_0"])
    return _bytes_as(tensor, _BY_NAME["Q6_K"])  # 5


def _bytes_as(tensor: TensorInfo, kind: TensorType) -> int:
    return tensor.elements // kind.block_items * kind.block_bytes
