"""What a context and its model take in memory, by buffer type, as llama.cpp itself counts it.

`llama_get_memory_breakdown` is exported and not part of the C interface: it returns a `std::map`, of which
ctypes sees the words. The layout (libstdc++'s red-black tree, llama.cpp's struct of the pinned version) is
believed only after a ghost model of known sizes was measured with it. Where that fails, there is no dry run.

For throw-away processes: what the map points to is never freed, and a wrong layout may crash.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from typing import Any, Final

import llama_cpp
from llama_cpp import llama_cpp as bindings

from appliance.engine.context_shape import ContextShape
from appliance.engine.llama.context import LlamaContext
from appliance.engine.llama.library import lazy_clear
from appliance.engine.llama.model import LlamaModel
from appliance.errors import OutpostError
from appliance.gguf.ghost import GhostTensor, ghost
from appliance.wire.sizes import Buffer

PINNED: Final = "0.3.36"
"""Of llama-cpp-python, as in pyproject.toml."""
_SYMBOL: Final = "_Z26llama_get_memory_breakdownPK13llama_context"
_MOST_NODES: Final = 64
_ROOT_WORD: Final = 2
_COUNT_WORD: Final = 5


class _Map(ctypes.Structure):
    """`std::map`: comparator; header node of colour, root, leftmost and rightmost; count."""

    _fields_ = (("words", ctypes.c_uint64 * 6),)


class _Node(ctypes.Structure):
    """`std::_Rb_tree_node` of a buffer type and `llama_memory_breakdown_data` (src/llama-ext.h)."""

    _fields_ = (
        ("color", ctypes.c_int),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("buffer_type", ctypes.c_void_p),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    )


def buffers_of(context: LlamaContext) -> list[Buffer]:
    """By name of their types. Raises ValueError for a map that cannot be one."""
    found = [
        Buffer(
            type=_type_name(node.buffer_type),
            weights_bytes=node.model,
            cache_bytes=node.context,
            compute_bytes=node.compute,
        )
        for node in _nodes(context)
    ]
    return sorted(found, key=lambda buffer: buffer.type)


def _nodes(context: LlamaContext) -> Iterator[Any]:
    ask = getattr(bindings._lib, _SYMBOL)  # noqa: SLF001  # no public way to its symbols
    ask.restype = _Map
    ask.argtypes = [bindings.llama_context_p_ctypes]
    words = ask(context.handle).words
    count = words[_COUNT_WORD]
    if not 0 < count <= _MOST_NODES:
        raise ValueError(f"a breakdown of {count} buffer types")
    waiting = [words[_ROOT_WORD]]
    seen = 0
    while waiting:
        address = waiting.pop()
        if address:
            seen += 1
            if seen > count:
                break
            node = _Node.from_address(address)
            yield node
            waiting += [node.left, node.right]
    if seen != count:
        raise ValueError(f"a breakdown of {count} buffer types that has {seen}")


def _type_name(buffer_type: int) -> str:
    name = lazy_clear.library["ggml_backend_buft_name"]
    name.restype = ctypes.c_char_p
    name.argtypes = [ctypes.c_void_p]
    return bytes(name(buffer_type)).decode("ascii", "replace")


# ── is it what we think it is? ──────────────────────────────────────────────────────────────────────────────

_WIDTH, _HEADS, _FEED, _LAYERS, _WORDS, _CTX = 64, 2, 96, 2, 320, 256
_KNOWN_CACHE_BYTES = _LAYERS * _CTX * 2 * _WIDTH * 2
"""Layers x cells x (keys and values) x width x 16 bits."""


def missing() -> str | None:
    """Why there is no dry run in this process; None: there is one. Writes to a file in memory: call it
    before the sandbox stands. With another llama.cpp it may crash.
    """
    if llama_cpp.__version__ != PINNED:
        return f"llama-cpp-python is {llama_cpp.__version__}; its inside is known of {PINNED}"
    if not hasattr(bindings._lib, _SYMBOL):  # noqa: SLF001
        return "this llama.cpp does not export its memory breakdown"
    try:
        found = _measure_known()
    except (OutpostError, OSError, ValueError) as error:
        return f"a model of known sizes was not measured: {error}"
    expected = sum(tensor.size_bytes for tensor in _known_tensors()), _KNOWN_CACHE_BYTES
    if found != expected:
        return f"a model of known sizes was measured wrongly: {found} instead of {expected}"
    return None


def _measure_known() -> tuple[int, int]:
    made = ghost(_known_metadata(), _known_tensors())
    descriptor = os.memfd_create("ghost", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, made.header)
        os.truncate(descriptor, made.file_bytes)
        model = LlamaModel(f"/proc/self/fd/{descriptor}", name="ghost", is_dry=True)
        try:
            shape = ContextShape(n_ctx_seq=_CTX, n_slots=1, n_batch=32, n_ubatch=32, n_outputs=1)
            context = LlamaContext(model, shape, n_threads=1)
            buffers = buffers_of(context)
            context.close()
        finally:
            model.close()
    finally:
        os.close(descriptor)
    return sum(one.weights_bytes for one in buffers), sum(one.cache_bytes for one in buffers)


def _known_metadata() -> dict[str, str | int | float]:
    return {
        "general.architecture": "llama",
        "llama.context_length": _CTX,
        "llama.embedding_length": _WIDTH,
        "llama.block_count": _LAYERS,
        "llama.feed_forward_length": _FEED,
        "llama.attention.head_count": _HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": _WORDS,
        "tokenizer.ggml.model": "no_vocab",
    }


def _known_tensors() -> list[GhostTensor]:
    """Sizes are multiples of ggml's alignment, so that their sum is the buffers' size."""
    tensors = [
        GhostTensor("token_embd.weight", (_WIDTH, _WORDS)),
        GhostTensor("output_norm.weight", (_WIDTH,)),
        GhostTensor("output.weight", (_WIDTH, _WORDS)),
    ]
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        tensors += [GhostTensor(f"{block}.{part}_norm.weight", (_WIDTH,)) for part in ("attn", "ffn")]
        tensors += [
            GhostTensor(f"{block}.attn_{part}.weight", (_WIDTH, _WIDTH)) for part in ("q", "k", "v", "output")
        ]
        tensors += [GhostTensor(f"{block}.ffn_{part}.weight", (_WIDTH, _FEED)) for part in ("gate", "up")]
        tensors.append(GhostTensor(f"{block}.ffn_down.weight", (_FEED, _WIDTH)))
    return tensors
