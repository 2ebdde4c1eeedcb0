"""What a model can do, in Ollama's words, as far as its header and its template tell. Pure."""

from __future__ import annotations

import re
from typing import Final

from appliance.gguf.header import Header
from appliance.store.admission import GgufFacts
from appliance.store.model_config import ModelConfig

_FILL_IN_KEYS: Final = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
_TOOLS: Final = re.compile(r"\btools\b")
_THINKING: Final = re.compile(r"<think>|enable_thinking|reasoning_content|\bthinking\b")
_UNITS: Final = ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0))


def capabilities_of(header: Header, *, template: str | None) -> tuple[str, ...]:
    """`template`: the one it is served with, whatever its origin; None: it does not chat. Never `vision`: a
    projector is stored and served by nobody yet.
    """
    text = template or ""
    pools = header.integer(f"{header.architecture}.pooling_type") not in (None, 0)
    found = {
        "completion": not pools,
        "tools": bool(_TOOLS.search(text)),
        "insert": any(header.integer(key) is not None for key in _FILL_IN_KEYS),
        "embedding": pools,
        "thinking": bool(_THINKING.search(text)),
    }
    return tuple(name for name, has_it in found.items() if has_it)


def config_of(facts: GgufFacts) -> ModelConfig:
    return ModelConfig(
        architecture=facts.architecture,
        format="gguf",
        parameters=human_count(facts.parameters),
        quantization=facts.quantization,
        context_length=facts.context_length,
        embedding_length=facts.shape.n_embd if facts.shape else None,
        families=(facts.architecture,),
    )


def human_count(count: int) -> str:
    """As Ollama writes parameters: 134.52M, 8.0B, 7B."""
    for unit, letter, digits in _UNITS:
        if count >= unit:
            return f"{count / unit:.{0 if count % unit == 0 else digits}f}{letter}"
    return str(count)
