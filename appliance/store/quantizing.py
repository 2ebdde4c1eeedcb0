"""What is known of a quantisation before one byte is copied: whether the weights can be quantised. Pure. The
room it takes: `gguf/quantized_size.py`.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import InvalidRequest
from appliance.store.admission import GgufFacts

SOURCES: Final = ("F16", "BF16", "F32")
"""What llama.cpp makes other types of; all else has lost too much already."""


def check_source(facts: GgufFacts, kind: str, *, model: str) -> None:
    """`kind`: llama.cpp's name of the type that is wanted. Raises InvalidRequest."""
    if facts.quantization not in SOURCES:
        raise InvalidRequest(
            reason=f"'{model}' is {facts.quantization or 'quantised'} already, and {kind} is made of "
            f"{', '.join(SOURCES[:-1])} or {SOURCES[-1]} weights only; take the model in one of these types, "
            f"or create it as it is, without {kind}",
            param="quantize",
        )
