"""A model's dimensions, guessed from its size: for one of which only a manifest is known. Errs to the large
side; who has read a header needs no guess. Pure.

Of today's models from 0.1 to 70 billion parameters, what a token leaves in the KV cache grows with about the
cube root of the parameters: 22 KiB at 135 million, 112 at 3, 128 at 8, 320 at 70 billion (f16, grouped
attention). Half as much again is added.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.gguf.shape import ModelShape

_REFERENCE: Final = 8_000_000_000
_CELL_BYTES: Final = 192 * 1024
"""Of one token at so many parameters: keys and values of all layers, f16."""
_N_EMBD: Final = 4096
_N_FF: Final = 16_384
_N_VOCAB: Final = 262_144
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


def guessed_shape(n_params: int, *, n_ctx_train: int | None) -> ModelShape:
    scale = (max(1, n_params) / _REFERENCE) ** (1 / 3)
    width = int(_CELL_BYTES * scale) // 4
    return ModelShape(
        architecture="",
        n_layer=1,
        n_layer_nextn=0,
        n_ctx_train=n_ctx_train,
        n_embd=int(_N_EMBD * scale),
        n_embd_out=None,
        n_vocab=_N_VOCAB,
        n_ff=(int(_N_FF * scale),),
        n_head=(1,),
        n_head_kv=(1,),
        n_embd_head_k=-(-width // 32) * 32,
        n_embd_head_v=-(-width // 32) * 32,
        kv_lora_rank=None,
        n_rot=None,
        rope_freq_base=0.0,
        rope_scaling=None,
        n_swa=0,
        swa_pattern=None,
        n_expert=0,
        n_expert_used=0,
        ssm_d_conv=0,
        ssm_d_inner=0,
        ssm_d_state=0,
        ssm_n_group=0,
        shortconv_l_cache=0,
        is_recurrent=False,
        is_hybrid=False,
        is_causal=True,
        pooling_type=None,
    )
