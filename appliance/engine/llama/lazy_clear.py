"""Lets the KV cache start without memory.

llama.cpp fills a new KV cache with zeros, which makes every page of every slot resident: gigabytes for slots
that may never be used, and seconds at each load. Fresh private memory reads as zeros already, so a clear of
a host buffer only has to drop its pages (MADV_DONTNEED): the same zeros, and no memory until a cell is used.

ggml has no setting for it, but its CPU buffer type is a table of functions (ggml/src/ggml-backend-impl.h of
the pinned llama.cpp). `install` puts our `alloc_buffer` into it, which puts our `clear` into the buffers it
makes. Layouts are checked before anything is replaced: another layout leaves llama.cpp as it is.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import llama_cpp

_MADV_DONTNEED = 4
_SMALLEST_BYTES = 1024 * 1024
"""A smaller buffer may lie in a heap page that others share; it is cleared as llama.cpp does."""

_AllocBuffer = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_Clear = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint8)


class _BufferType(ctypes.Structure):
    """`struct ggml_backend_buffer_type`."""

    _fields_ = (
        ("get_name", ctypes.c_void_p),
        ("alloc_buffer", ctypes.c_void_p),
        ("get_alignment", ctypes.c_void_p),
        ("get_max_size", ctypes.c_void_p),
        ("get_alloc_size", ctypes.c_void_p),
        ("is_host", ctypes.c_void_p),
        ("device", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    )


class _Buffer(ctypes.Structure):
    """`struct ggml_backend_buffer`."""

    _fields_ = (
        ("free_buffer", ctypes.c_void_p),
        ("get_base", ctypes.c_void_p),
        ("init_tensor", ctypes.c_void_p),
        ("memset_tensor", ctypes.c_void_p),
        ("set_tensor", ctypes.c_void_p),
        ("get_tensor", ctypes.c_void_p),
        ("set_tensor_2d", ctypes.c_void_p),
        ("get_tensor_2d", ctypes.c_void_p),
        ("cpy_tensor", ctypes.c_void_p),
        ("clear", ctypes.c_void_p),
        ("reset", ctypes.c_void_p),
        ("buft", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("usage", ctypes.c_int),
    )


def whole_pages(base: int, size: int, page: int = mmap.PAGESIZE) -> tuple[int, int]:
    """Begin and end of the whole pages inside `[base, base + size)`; equal when there are none."""
    begin = -(-base // page) * page
    return begin, max(begin, (base + size) // page * page)


class LazyClear:
    """One per process, never freed: ggml calls into it as long as it lives. Threads: whoever allocates."""

    def __init__(self) -> None:
        self.library = library = ctypes.CDLL(
            str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so.0")
        )
        self._base = _function(library, "ggml_backend_buffer_get_base", ctypes.c_void_p, ctypes.c_void_p)
        self._alloc = _function(
            library, "ggml_backend_buft_alloc_buffer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
        )
        self._size = _function(library, "ggml_backend_buffer_get_size", ctypes.c_size_t, ctypes.c_void_p)
        self._free = _function(library, "ggml_backend_buffer_free", None, ctypes.c_void_p)
        self._address = _function(library, "ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
        self._type = _BufferType.from_address(self._address)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._plain_alloc = _AllocBuffer(self._type.alloc_buffer or 0)
        self._plain_clear: Any = None
        self._our_alloc = _AllocBuffer(self._alloc_buffer)
        self._our_clear = _Clear(self._clear)
        self.cleared_bytes = 0
        """Bytes that were cleared without being touched."""

    def install(self) -> bool:
        """False: this ggml is laid out otherwise, and stays as it is."""
        if not self._is_known_layout():
            return False
        self._type.alloc_buffer = ctypes.cast(self._our_alloc, ctypes.c_void_p).value
        return True

    def _is_known_layout(self) -> bool:
        """A buffer made by ggml reads back what went in, at the places where we would write."""
        size = 4096
        made = self._alloc(self._address, size)
        if not made:
            return False
        buffer = _Buffer.from_address(made)
        is_known = (
            buffer.buft == self._address
            and buffer.size == self._size(made) == size
            and buffer.context == self._base(made)
            and bool(buffer.clear)
        )
        if is_known:
            self._plain_clear = _Clear(buffer.clear)
        self._free(made)
        return is_known

    def _alloc_buffer(self, buffer_type: int, size: int) -> int | None:
        made: int | None = self._plain_alloc(buffer_type, size)
        if made and size >= _SMALLEST_BYTES:
            _Buffer.from_address(made).clear = ctypes.cast(self._our_clear, ctypes.c_void_p).value
        return made

    def _clear(self, made: int, value: int) -> None:
        base, size = self._base(made), self._size(made)
        begin, end = whole_pages(base, size)
        if value != 0 or self._libc.madvise(begin, end - begin, _MADV_DONTNEED) != 0:
            self._plain_clear(made, value)
            return
        ctypes.memset(base, 0, begin - base)
        ctypes.memset(end, 0, base + size - end)
        self.cleared_bytes += end - begin


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function
