"""Quantisations in the names of files."""

from __future__ import annotations

import pytest

from appliance.store.hub import quantization_of


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("SmolLM2-135M-Instruct-Q4_1.gguf", "Q4_1"),
        ("model.q4_k_m.gguf", "Q4_K_M"),
        ("Model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("Model-UD-Q4_K_XL.gguf", "Q4_K_XL"),
        ("Model-BF16-00001-of-00003.gguf", "BF16"),
        ("BF16/Model-BF16-00001-of-00003.gguf", "BF16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("model-f16.gguf", "F16"),
        ("ggml-model.gguf", None),
        ("Qwen3.gguf", None),
        ("", None),
    ],
)
def test_the_label_stands_at_the_end(name: str, label: str | None) -> None:
    assert quantization_of(name) == label
