"""llama.cpp's own thread pool, kept between steps.

Without one, ggml starts and joins its threads in every graph (measured 6-8 % of a one-sequence step on two
cores). Between steps the pool's threads poll for `poll` x 1,024 rounds and then sleep, so an idle runner
costs nothing.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp
from llama_cpp import llama_cpp as bindings

_MAX_THREADS = 512


class _ThreadpoolParams(ctypes.Structure):
    """`struct ggml_threadpool_params` of ggml/include/ggml.h."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * _MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


def _load_ggml_cpu() -> ctypes.CDLL:
    # The wheel holds no links, and libllama is linked to `.so.0`: `libggml-cpu.so` would be a second library
    # with its own state.
    return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-cpu.so.0"))


class Threadpool:
    """Up to `n_threads` compute threads, the calling one included. Owned by the context's thread."""

    def __init__(self, n_threads: int, *, poll: int = 50, cpus: frozenset[int] = frozenset()) -> None:
        self._library = _load_ggml_cpu()
        params = _ThreadpoolParams(n_threads=n_threads, poll=poll)
        for cpu in cpus:
            params.cpumask[cpu] = True
        create = self._library.ggml_threadpool_new
        create.restype = ctypes.c_void_p
        create.argtypes = [ctypes.POINTER(_ThreadpoolParams)]
        self._pool: int | None = create(ctypes.byref(params))
        if not self._pool:
            raise MemoryError("ggml_threadpool_new returned NULL")

    def attach(self, context: ctypes.c_void_p) -> None:
        function = bindings._lib.llama_attach_threadpool  # noqa: SLF001  # not bound by llama_cpp
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        function.restype = None
        function(context, self._pool, None)

    def close(self) -> None:
        """Only after the contexts that use it are freed."""
        if self._pool:
            free = self._library.ggml_threadpool_free
            free.argtypes = [ctypes.c_void_p]
            free.restype = None
            free(self._pool)
            self._pool = None
