"""Files in the dialect of Ollama's own engine: model library blobs that llama.cpp reads wrongly or not at
all.

They are told by their markers only, as there is no field that says so. Most need their tensors rewritten, so
they are refused with the way out; where only metadata differs and llama.cpp copes, a note is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from appliance.gguf.header import Header
from appliance.gguf.values import NumberArray, StringArray

_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gptoss": "gpt-oss",
        "qwen25vl": "qwen2vl",
        "olmo3": "olmo2",
        "glm4moelite": "deepseek2",
        "glmocr": "glm4",
        "deepseekocr": "deepseek2-ocr",
    }
)
"""Names that only the dialect uses, and what llama.cpp calls the same."""
_TOWERS: Final = ("v.", "mm.", "a.", "s.", "mtp.")
"""Prefixes of tensors of other parts (vision, audio, further tokens) that a text model must not hold."""
_LLAMA3_END_OF_TURN: Final = 128_009


@dataclass(frozen=True, slots=True)
class _Marker:
    architectures: frozenset[str]
    says: str
    found: Callable[[Header], bool]


def foreign(header: Header) -> str | None:
    """Why the file is of the dialect, and what to do."""
    reason = _marker(header)
    if reason is None:
        return None
    return (
        f"it is written for Ollama's own engine ({reason}); take the same model from another source, such as "
        "a Hugging Face repository with GGUF files, which llama.cpp reads as they are"
    )


def notes(header: Header) -> tuple[str, ...]:
    if header.architecture != "llama" or not _speaks_llama3(header):
        return ()
    found = []
    if header.text("tokenizer.ggml.pre") in {None, "default"}:
        found.append(
            "its vocabulary is Llama 3's and it names no pre-tokenizer (llama-bpe): text is cut into tokens "
            "otherwise than in training; a newer conversion of the model answers better"
        )
    if header.integer("tokenizer.ggml.eos_token_id") == 128_001:
        found.append("its end token is the end of text, not of a turn (<|eot_id|>); both end an answer here")
    return tuple(found)


def _marker(header: Header) -> str | None:
    architecture = header.architecture or ""
    if architecture in _RENAMED:
        return f"architecture '{architecture}', which llama.cpp knows as '{_RENAMED[architecture]}'"
    tower = next((tensor.name for tensor in header.tensors if tensor.name.startswith(_TOWERS)), None)
    if tower is not None:
        return f"it holds another part of the model, tensor '{tower}'"
    return next(
        (one.says for one in _MARKERS if architecture in one.architectures and one.found(header)),
        None,
    )


# ── markers ─────────────────────────────────────────────────────────────────────────────────────────────────


def _has(header: Header, name: str) -> bool:
    return any(tensor.name == name for tensor in header.tensors)


def _rows(header: Header, name: str) -> int | None:
    found = next((tensor.shape for tensor in header.tensors if tensor.name == name), None)
    return found[1] if found is not None and len(found) == 2 else None


def _per_layer_vocabulary_differs(header: Header) -> bool:
    rows, per_layer = _rows(header, "token_embd.weight"), _rows(header, "per_layer_token_embd.weight")
    return rows is not None and per_layer is not None and rows != per_layer


def _heads_are_an_array(header: Header) -> bool:
    return isinstance(header.metadata.get(f"{header.architecture}.attention.head_count_kv"), NumberArray)


def _speaks_llama3(header: Header) -> bool:
    texts = header.strings("tokenizer.ggml.tokens")
    return (
        texts is not None and len(texts) > _LLAMA3_END_OF_TURN and texts[_LLAMA3_END_OF_TURN] == b"<|eot_id|>"
    )


_MARKERS: Final = (
    _Marker(
        frozenset({"gemma3"}),
        "its embedding head is 'dense.0.weight'",
        lambda header: _has(header, "dense.0.weight"),
    ),
    _Marker(
        frozenset({"gemma3"}),
        "its metadata has the keys of Ollama's converter",
        lambda header: (
            any(
                f"gemma3.{key}" in header.metadata
                for key in ("mm.tokens_per_image", "rope.global.freq_base", "rope.local.freq_base")
            )
            or "gemma3.attention.layer_norm_rms_epsilon" not in header.metadata
        ),
    ),
    _Marker(
        frozenset({"gemma3n"}),
        "its vocabulary is larger than that of its layers",
        _per_layer_vocabulary_differs,
    ),
    _Marker(
        frozenset({"gemma4"}),
        "its tokenizer is called 'llama'",
        lambda header: header.text("tokenizer.ggml.model") == "llama",
    ),
    _Marker(
        frozenset({"lfm2"}),
        "its last norm is called 'output_norm'",
        lambda header: _has(header, "output_norm.weight") and not _has(header, "token_embd_norm.weight"),
    ),
    _Marker(
        frozenset({"mistral3"}),
        "its RoPE has old keys",
        lambda header: any(
            f"mistral3.rope.scaling{key}" in header.metadata
            for key in (".beta_fast", ".beta_slow", ".mscale_all_dim", "_beta")
        ),
    ),
    _Marker(
        frozenset({"qwen35", "qwen35moe", "qwen3next"}),
        "it counts heads by layer, or its 'ssm_dt' is no bias",
        lambda header: (
            _heads_are_an_array(header) or any(tensor.name.endswith(".ssm_dt") for tensor in header.tensors)
        ),
    ),
    _Marker(
        frozenset({"bert"}),
        "its character map is text",
        lambda header: isinstance(header.metadata.get("tokenizer.ggml.precompiled_charsmap"), StringArray),
    ),
)
