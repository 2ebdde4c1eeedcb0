"""Whether a GGUF is mapped or read: mapped only if every weight can stay where the map has it.

A weight that is copied (into a layout for fast kernels, to a device) is in memory twice while its file is
mapped: once as the copy, once as pages of the file. On a board the two are the same memory, and with an
integrated GPU, too. Then the file is read, through a small buffer, and nothing stays but the copy.

What is not copied is better mapped: it loads faster, and the kernel may drop and read again what it needs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as bindings

from appliance.engine.llama.kernels import kernels
from appliance.gguf.layouts import FEATURES, Features, may_be_copied
from appliance.gguf.tensor_types import TENSOR_TYPES

_SVE_BYTES = 32


def load_mode(paths: Sequence[str], *, use_mmap: bool, n_gpu_layers: int, repack: bool = True) -> int:
    """llama.cpp's load mode for the parts of a model."""
    maps = use_mmap and is_mapped(paths, n_gpu_layers=n_gpu_layers, repack=repack)
    return int(bindings.LLAMA_LOAD_MODE_MMAP if maps else bindings.LLAMA_LOAD_MODE_NONE)


def is_mapped(paths: Sequence[str], *, n_gpu_layers: int, repack: bool = True) -> bool:
    """Whether all weights can stay in the mapped files. A file that cannot be read here will be named by the
    load itself.
    """
    if n_gpu_layers != 0 and bindings.llama_supports_gpu_offload():
        return False
    if not repack:
        return True
    cpu = cpu_features()
    interleaves = kernels.is_enabled and bool(kernels.name)
    kinds = set().union(*(_tensor_types(path) for path in paths))
    return not any(may_be_copied(kind, cpu, own_kernels=interleaves) for kind in kinds)


def cpu_features() -> Features:
    """What the CPU back end finds that it can use, not what the processor has."""
    library = _library("libggml-cpu.so.0")
    found = {name for name in FEATURES if getattr(library, f"ggml_cpu_has_{name}")()}
    if library.ggml_cpu_has_sve() and library.ggml_cpu_get_sve_cnt() == _SVE_BYTES:
        found.add("sve_256")
    return found


class _InitParams(ctypes.Structure):
    """`struct gguf_init_params` of ggml/include/gguf.h."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def _tensor_types(path: str) -> set[str]:
    """Names of the types in a file; empty for one that ggml does not read.

    ggml's own reader: it opens the same file a moment later, and reads 50,000 tokens in 20 ms.
    """
    library = _library("libggml-base.so.0")
    context = _function(library, "gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, _InitParams)(
        path.encode(), _InitParams(no_alloc=True)
    )
    if not context:
        return set()
    try:
        count = _function(library, "gguf_get_n_tensors", ctypes.c_int64, ctypes.c_void_p)(context)
        type_of = _function(library, "gguf_get_tensor_type", ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
        numbers = {type_of(context, index) for index in range(count)}
    finally:
        _function(library, "gguf_free", None, ctypes.c_void_p)(context)
    return {TENSOR_TYPES[number].name for number in numbers if number in TENSOR_TYPES}


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / name))


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = library[name]  # by index: a prototype of our own, not the one that others set
    function.restype = result
    function.argtypes = arguments
    return function
