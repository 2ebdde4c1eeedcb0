from __future__ import annotations

import pytest

from appliance.errors import InvalidRequest
from appliance.store.quantizing import check_source


@pytest.mark.parametrize("quantization", ["F16", "BF16", "F32"])
def test_wide_weights_can_be_quantised(quantization: str) -> None:
    check_source(quantization, "q4_K_M", model="m")


@pytest.mark.parametrize("quantization", ["Q8_0", "Q4_K_M", "MXFP4", None])
def test_others_cannot_and_are_told_both_types_and_what_to_do(quantization: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_source(quantization, "q4_K_M", model="m.gguf")
    assert caught.value.message == (
        f"quantize: 'm.gguf' is {quantization or 'quantised'} already, "
        "and q4_K_M is made of F16, BF16 or F32 weights only; "
        "take the model in one of these types, or create it as it is, without q4_K_M"
    )
