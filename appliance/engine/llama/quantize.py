"""llama.cpp's quantiser: one GGUF into another of a smaller type."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Final

from llama_cpp import llama_cpp as bindings

from appliance.engine.llama.library import initialise, log
from appliance.errors import InvalidRequest, ModelInvalid, StoreFault

_MAX_BUFFER_BYTES: Final = 512 * 1024 * 1024
"""Of tensor rows held in memory at once; llama.cpp's own is 8 GiB, more than a board has."""
_TENSOR_LINE: Final = re.compile(r"\[ *(\d+)/ *(\d+)\]")
"""Begins the line of each tensor: its number, and how many there are."""


def file_type(kind: str) -> int:
    """llama.cpp's number of a name of `wire.quantize.KINDS`."""
    of_all = "ALL" if kind == "f32" else "MOSTLY"
    return int(getattr(bindings, f"LLAMA_FTYPE_{of_all}_{kind.upper()}"))


def quantize(
    source: str,
    target: str,
    *,
    model: str,
    kind: str,
    allow_requantize: bool,
    n_threads: int,
    on_progress: Callable[[float], None],
) -> None:
    """Write `target`; `on_progress` hears the share of tensors that are begun.

    Raises InvalidRequest for a source that is quantised already (unless `allow_requantize`) and for a kind
    that needs an importance matrix, StoreFault when the target cannot be written, ModelInvalid for a source
    that llama.cpp cannot read.
    """
    initialise()
    params = bindings.llama_model_quantize_default_params()
    params.ftype = file_type(kind)
    params.allow_requantize = allow_requantize
    params.nthread = n_threads
    params.max_buf_size = _MAX_BUFFER_BYTES
    log.clear()
    with log.listening(_tensor_counter(on_progress)):
        code = bindings.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    if code != 0:
        raise _fault(log.reason(), model=model, kind=kind)


def _tensor_counter(on_progress: Callable[[float], None]) -> Callable[[str], None]:
    def hear(line: str) -> None:
        found = _TENSOR_LINE.match(line)
        if found is not None:
            number, total = int(found[1]), int(found[2])
            on_progress(min(1.0, (number - 1) / max(1, total)))

    return hear


def _fault(reason: str, *, model: str, kind: str) -> InvalidRequest | ModelInvalid | StoreFault:
    """llama.cpp tells its faults in words only (src/llama-quant.cpp)."""
    said = reason.removeprefix("llama_model_quantize: failed to quantize: ").strip()
    if "requantizing from type" in said:
        return InvalidRequest(
            reason=f"'{model}' is quantised already ({said}); quantise from f16, bf16 or f32 weights",
            param="quantize",
        )
    if "imatrix" in said or "importance matrix" in said:
        return InvalidRequest(
            reason=f"{kind} needs an importance matrix, which Outpost does not make; take q4_K_M or iq4_xs",
            param="quantize",
        )
    if "iostream" in said or "basic_ios" in said:
        return StoreFault(path=f"the {kind} of '{model}'", reason="the result could not be written")
    return ModelInvalid(model=model, reason=f"it cannot be quantised to {kind}: {said}")
