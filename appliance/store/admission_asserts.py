"""Admission rules from what single architectures of llama.cpp assert (`src/models/*.cpp`): where their graph
is built, a wrong dimension is no error but the end of the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.gguf.header import Header
from appliance.gguf.values import FLOATS, NumberArray

# fmt: off
_EQUAL_WIDTHS: Final = frozenset({
    "afmoe", "apertus", "arcee", "arctic", "baichuan", "bailingmoe2", "bert", "bitnet", "bloom",
    "chameleon", "chatglm", "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r", "dbrx", "deci",
    "deepseek", "dots1", "dream", "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert",
    "exaone", "exaone-moe", "exaone4", "falcon", "glm4", "glm4moe", "gpt2", "gptneox", "granite",
    "granite_swa", "granitehybrid", "graniteswitch", "grok", "grovemoe", "hunyuan-moe", "hunyuan_vl",
    "hy_v3", "internlm2", "jais", "jais2", "laguna", "llada", "llada-moe", "llama", "llama4", "maincoder",
    "maple", "mellum", "minimax-01", "minimax-m2", "minimax-m3", "mistral3", "modern-bert", "mpt",
    "muse-glimmer", "nanbeige", "nemotron", "nemotron_h", "nemotron_h_moe", "neo-bert", "olmo", "olmo2",
    "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "plamo", "pockettts",
    "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next",
    "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "seed_oss", "smallthinker", "smollm3",
    "spark2_5", "stablelm", "starcoder", "starcoder2", "t5", "talkie", "xverse",
})
"""Keys and values of a head are as wide as each other."""

_FULL_ROPE: Final = frozenset({
    "apertus", "arcee", "arctic", "baichuan", "chameleon", "codeshell", "cogvlm", "cohere2moe", "dbrx",
    "deci", "deepseek", "dots1", "dream", "ernie4_5", "ernie4_5-moe", "exaone", "exaone-moe", "exaone4",
    "falcon", "granite", "granite_swa", "graniteswitch", "grok", "grovemoe", "hunyuan-moe", "hunyuan_vl",
    "hy_v3", "internlm2", "jais2", "llada", "llada-moe", "llama", "llama4", "maincoder", "mellum",
    "mistral3", "olmo", "olmo2", "olmoe", "orion", "paddleocr", "pangu-embedded", "plamo", "pockettts",
    "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "rnd1", "seed_oss",
    "smallthinker", "smollm3", "starcoder2", "talkie", "xverse",
})
"""RoPE turns all of a head."""
# fmt: on

_EXPERTS: Final = frozenset({"bailingmoe2", "glm4moe", "grovemoe", "lfm2moe", "llada-moe", "smallthinker"})
"""Mixtures of experts by their nature: none is no choice."""
_SECTIONS: Final = frozenset(
    {"qwen2vl", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen4exp", "paddleocr"}
)
"""RoPE in sections (time, height, width)."""
_DOUBLE_STATE: Final = frozenset({"jamba", "granitehybrid"})
"""Their state space is twice as wide as the model."""


@dataclass(frozen=True, slots=True)
class _Least:
    architecture: str
    key: str
    least: int


_LEAST: Final = (
    _Least("grovemoe", "experts_per_group", 1),
    _Least("hrm_text", "hrm.layers_per_stack", 1),
    _Least("hrm_text", "hrm.h_cycles", 1),
    _Least("hrm_text", "hrm.l_cycles", 1),
    _Least("nanbeige", "num_loops", 1),
    _Least("minimax-m3", "attention.indexer.block_size", 1),
)
"""Numbers that must not be 0 where they are given."""


def widths(header: Header) -> str | None:
    architecture = header.architecture
    whole = _head_width(header)
    if whole is None or _integer(header, "attention.key_length_swa") is not None:
        # With widths of their own for sliding layers it is the first layer's that is asserted.
        return None
    key = _integer(header, "attention.key_length") or whole
    value = _integer(header, "attention.value_length") or whole
    if architecture in _EQUAL_WIDTHS and key != value:
        return (
            f"its heads have keys of {key} and values of {value} dimensions; '{architecture}' has equal ones"
        )
    turned = _integer(header, "rope.dimension_count")
    if architecture in _FULL_ROPE and turned is not None and turned != key:
        return f"RoPE turns {turned} of {key} dimensions; in '{architecture}' it turns all"
    return None


def experts(header: Header) -> str | None:
    if header.architecture in _EXPERTS and not _integer(header, "expert_count"):
        return f"it has no experts, and '{header.architecture}' is made of them"
    return None


def sections(header: Header) -> str | None:
    if header.architecture not in _SECTIONS:
        return None
    value = header.numbers(f"{header.architecture}.rope.dimension_sections")
    found = list(value) if isinstance(value, NumberArray) and value.item_type not in FLOATS else []
    return (
        None
        if sum(found[:3]) > 0
        else f"'{header.architecture}' needs rope.dimension_sections, and it has none"
    )


def states(header: Header) -> str | None:
    inner, width = _integer(header, "ssm.inner_size"), _integer(header, "embedding_length")
    if header.architecture not in _DOUBLE_STATE or inner is None or width is None or inner == 2 * width:
        return None
    return f"its state space has {inner} dimensions, not twice the model's {width}"


def least(header: Header) -> str | None:
    for one in _LEAST:
        value = _integer(header, one.key)
        if header.architecture == one.architecture and value is not None and value < one.least:
            return f"{one.architecture}.{one.key} is {value}, less than {one.least}"
    return None


def _head_width(header: Header) -> int | None:
    """Of the first layer, where neither keys nor values say their own; None: it has no heads."""
    width = _integer(header, "embedding_length")
    value = header.metadata.get(f"{header.architecture}.attention.head_count")
    first = next(iter(value), None) if isinstance(value, NumberArray) else value
    return width // first if isinstance(first, int) and first > 0 and width is not None else None


def _integer(header: Header, key: str) -> int | None:
    return header.integer(f"{header.architecture}.{key}")
