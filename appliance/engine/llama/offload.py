"""Where llama.cpp has put a model, by its own word while it loads and not by what it was asked for.

Two lines tell: `load_tensors: offloaded 29/29 layers to GPU`, which only repeats the wish, and for each
buffer `load_tensors: CUDA0 model buffer size = 1234.56 MiB`. Layers count as offloaded where a buffer that is
not empty belongs to a device that ggml lists as a GPU. A driver that gives no device leaves both lines out.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import llama_cpp

_OFFLOADED: Final = re.compile(r"offloaded ([0-9]{1,5})/([0-9]{1,5}) layers to GPU")
_BUFFER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.]{0,63}) model buffer size = +([0-9.]{1,20}) MiB")
_GPU_TYPES: Final = frozenset({1, 2})
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU (ggml-backend.h)."""
_MOST_DEVICES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    device: str
    """`cpu`, or the GPU with the most of the weights."""
    n_layers: int
    """On GPUs."""


def offload_of(lines: Iterable[str], *, gpus: Collection[str]) -> Offload:
    """From the lines of a load."""
    mib: dict[str, float] = {}
    n_layers = 0
    for line in lines:
        if (offloaded := _OFFLOADED.search(line)) is not None:
            n_layers = int(offloaded[1])
        elif (buffer := _BUFFER.search(line)) is not None and buffer[1] in gpus:
            mib[buffer[1]] = mib.get(buffer[1], 0.0) + _number(buffer[2])
    device = max(mib, key=lambda name: mib[name], default="cpu")
    if device == "cpu" or mib[device] <= 0.0 or n_layers == 0:
        return Offload(device="cpu", n_layers=0)
    return Offload(device=device, n_layers=n_layers)


def is_telling(line: str) -> bool:
    """Whether `offload_of` would read it: of thousands of lines a few."""
    return "layers to GPU" in line or "model buffer size" in line


def gpu_names() -> frozenset[str]:
    """The GPUs that this build finds and the driver gives. The back ends must be initialised."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    registry = ctypes.CDLL(str(folder / "libggml.so.0"))
    base = ctypes.CDLL(str(folder / "libggml-base.so.0"))
    count, device_at = registry["ggml_backend_dev_count"], registry["ggml_backend_dev_get"]
    type_of, name_of = base["ggml_backend_dev_type"], base["ggml_backend_dev_name"]
    count.restype, device_at.restype, device_at.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    type_of.restype, type_of.argtypes = ctypes.c_int, [ctypes.c_void_p]
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    devices = [device_at(index) for index in range(min(count(), _MOST_DEVICES))]
    return frozenset(
        bytes(name_of(device)).decode("ascii", "replace")
        for device in devices
        if type_of(device) in _GPU_TYPES
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
