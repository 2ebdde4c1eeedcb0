"""Our matrix kernels for the weight formats that llama.cpp multiplies one row at a time (docs/adr/0013).

The sources are in `kernel_sources/`. `make` compiles them against the very llama.cpp that is installed, and
puts the library under the environment (`provision/bootstrap/kernels.py`). Where it is not, llama.cpp computes
alone.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

LIBRARY = Path("lib") / "outpost" / "libggml-outpost.so"
"""Below `sys.prefix`."""


class Kernels:
    """One per process. Before `install`, and where it fails, nothing of llama.cpp is changed.

    Threads: any, but no model may be loading.
    """

    def __init__(self, library: Path) -> None:
        self._path = library
        self._library: ctypes.CDLL | None = None
        self.name = ""
        """Of the instructions they use: avx512-vnni | avx2; empty: not in use."""
        self.missing: str | None = None
        """Why they are not in use."""

    def install(self) -> None:
        """Before the first model is loaded: llama.cpp asks only once what can hold weights."""
        if self._library is not None:
            return
        try:
            library = ctypes.CDLL(str(self._path))
            library.outpost_kernels_install.restype = ctypes.c_char_p
            library.outpost_kernels_enable.argtypes = [ctypes.c_bool]
            library.outpost_kernels_enable.restype = None
            library.outpost_kernels_bytes.restype = ctypes.c_size_t
        except (OSError, AttributeError) as error:
            self.missing = f"they were not built for this machine ({error})"
            return
        self.name = library.outpost_kernels_install().decode()
        self._library = library

    def enable(self, *, wanted: bool) -> None:
        """Whether the models loaded from now on use them."""
        if self._library is not None:
            self._library.outpost_kernels_enable(wanted)

    @property
    def laid_out_bytes(self) -> int:
        """Bytes of weights laid out for them since the process began."""
        return int(self._library.outpost_kernels_bytes()) if self._library is not None else 0


kernels = Kernels(Path(sys.prefix) / LIBRARY)
