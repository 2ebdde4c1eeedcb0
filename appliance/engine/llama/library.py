"""The llama.cpp shared library, initialised once per process; its log; names of ggml types."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
from llama_cpp import llama_cpp as bindings

from appliance.engine.llama.kernels import kernels
from appliance.engine.llama.lazy_clear import LazyClear

KV_TYPES = {
    "f32": bindings.GGML_TYPE_F32,
    "f16": bindings.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16 of ggml.h, which the bindings leave out
    "q8_0": bindings.GGML_TYPE_Q8_0,
    "q5_1": bindings.GGML_TYPE_Q5_1,
    "q5_0": bindings.GGML_TYPE_Q5_0,
    "q4_1": bindings.GGML_TYPE_Q4_1,
    "q4_0": bindings.GGML_TYPE_Q4_0,
    "iq4_nl": bindings.GGML_TYPE_IQ4_NL,
}

_KV_TYPE_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes per value: block size over 32 values (ggml/src/ggml-common.h)."""

_LOG_WARN = 3
_LOG_ERROR = 4
_KEPT_LINES = 16


class _Log:
    """Keeps the last warnings and errors that llama.cpp printed: the only place where it says why a load
    failed.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._sink: Callable[[str], None] | None = None
        self._hear: Callable[[str], None] | None = None
        # ctypes keeps no reference to the callback: losing it would crash the next log line.
        self._callback = bindings.llama_log_callback(self._on_line)

    def install(self, sink: Callable[[str], None] | None) -> None:
        self._sink = sink
        bindings.llama_log_set(self._callback, ctypes.c_void_p(0))

    def clear(self) -> None:
        self._lines.clear()

    @contextlib.contextmanager
    def listening(self, hear: Callable[[str], None]) -> Iterator[None]:
        """Every line goes to `hear`, too, also those of lower levels. Called in llama.cpp: it must not
        raise.
        """
        self._hear = hear
        try:
            yield
        finally:
            self._hear = None

    def reason(self) -> str:
        """The most telling line since `clear`: the first error, which names the cause; later ones only pass
        it up.
        """
        return self._lines[0] if self._lines else "llama.cpp gave no reason"

    def _on_line(self, level: int, text: bytes, _: object) -> None:
        if self._hear is not None:
            self._hear(text.decode("utf-8", "replace"))
        if level in (_LOG_WARN, _LOG_ERROR):
            line = text.decode("utf-8", "replace").strip()
            if level == _LOG_ERROR and line:
                self._lines.append(line)
            if self._sink is not None and line:
                self._sink(line)


log = _Log()
lazy_clear = LazyClear()
_initialised = False


def initialise(log_sink: Callable[[str], None] | None = None) -> None:
    """Once per process, before any other call; later calls do nothing."""
    global _initialised  # noqa: PLW0603  # the library itself is process-wide state
    if _initialised:
        return
    log.install(log_sink)
    bindings.llama_backend_init()
    lazy_clear.install()
    kernels.install()
    _initialised = True


def kv_type_bytes(name: str) -> float:
    """Bytes of one value of a KV type."""
    return _KV_TYPE_BYTES[name]


def system_info() -> str:
    """llama.cpp's own line on CPU features and back ends."""
    return str(bindings.llama_print_system_info().decode("utf-8", "replace")).strip()


def build_version() -> str:
    return str(llama_cpp.__version__)


def build_digest() -> str:
    """Of the very libraries that compute: two builds of one version may differ."""
    made = hashlib.sha256()
    folder = Path(llama_cpp.__file__).parent / "lib"
    for path in sorted({path.resolve() for path in folder.glob("*.so*")}):
        made.update(path.name.encode() + path.read_bytes())
    return made.hexdigest()
