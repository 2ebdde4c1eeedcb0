"""Our matrix kernels for the weight formats that llama.cpp multiplies one row at a time (docs/adr/0013).

The sources are in `kernel_sources/`. `make` compiles them against the very llama.cpp that is installed, and
puts the library under the environment (`provision/bootstrap/kernels.py`). Where it is not, llama.cpp computes
alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path

import llama_cpp  # noqa: F401 - loads the libraries that ours is linked to

LIBRARY = Path("lib") / "outpost" / "libggml-outpost.so"
"""Below `sys.prefix`."""


class Kernels:
    """One per process. Opened while this module is imported, because a runner's box lets nothing be loaded
    later. Where that fails, nothing of llama.cpp is changed.

    Threads: any, but no model may be loading.
    """

    def __init__(self, library: Path) -> None:
        self.name = ""
        """Of the instructions they use: avx512-vnni | avx2; empty: not in use."""
        self.missing: str | None = None
        """Why they are not in use."""
        self.is_enabled = True
        self.digest = ""
        """Of the library; empty: there is none."""
        self._library: ctypes.CDLL | None = None
        try:
            self._library = _opened(library)
            self.digest = hashlib.sha256(library.read_bytes()).hexdigest()
        except (OSError, AttributeError) as error:
            self.missing = f"they were not built for this machine ({error})"

    def install(self) -> None:
        """Before the first model is loaded: llama.cpp asks only once what can hold weights. Repeatable."""
        if self._library is not None and not self.name:
            self.name = self._library.outpost_kernels_install().decode()

    def enable(self, *, wanted: bool) -> None:
        """Whether the models loaded from now on use them."""
        self.is_enabled = wanted
        if self._library is not None:
            self._library.outpost_kernels_enable(wanted)

    @property
    def laid_out_bytes(self) -> int:
        """Bytes of weights laid out for them since the process began."""
        return int(self._library.outpost_kernels_bytes()) if self._library is not None else 0


def _opened(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.outpost_kernels_install.restype = ctypes.c_char_p
    library.outpost_kernels_enable.argtypes = [ctypes.c_bool]
    library.outpost_kernels_enable.restype = None
    library.outpost_kernels_bytes.restype = ctypes.c_size_t
    return library


kernels = Kernels(Path(sys.prefix) / LIBRARY)
