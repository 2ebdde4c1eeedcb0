"""What is known of a quantisation before one byte is copied: whether the weights can be quantised. The room
it takes: `gguf/quantized_size.py`.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import InvalidRequest
from appliance.gguf.quantization import quantization_of
from appliance.store.content import Source, Wanted
from appliance.store.copy import Foresee
from appliance.store.descriptor import Manifest
from appliance.store.headers import source_header
from appliance.store.model_layers import Part, in_order, parts_of

SOURCES: Final = ("F16", "BF16", "F32")
"""What llama.cpp makes other types of; all else has lost too much already."""


def check_source(quantization: str | None, kind: str, *, model: str) -> None:
    """`quantization`: of the weights. `kind`: llama.cpp's name of the type that is wanted. Raises
    InvalidRequest.
    """
    if quantization not in SOURCES:
        raise InvalidRequest(
            reason=f"'{model}' is {quantization or 'quantised'} already, and {kind} is made of "
            f"{', '.join(SOURCES[:-1])} or {SOURCES[-1]} weights only; take the model in one of these types, "
            f"or create it as it is, without {kind}",
            param="quantize",
        )


def foreseen(kind: str, *, model: str, wanted: Wanted) -> Foresee:
    """`check_source` of weights that are still at their source, by the header of the first file."""

    def look(manifest: Manifest, source: Source) -> None:
        weights = in_order(parts_of(manifest, what=model)[Part.WEIGHTS], what=model)
        header = source_header(source, weights[0], model=model, wanted=wanted)
        quantization = quantization_of(header)
        # The first of several may have no tensors, and no word on their type: then all of them tell.
        if quantization is not None or len(weights) == 1:
            check_source(quantization, kind, model=model)

    return look
