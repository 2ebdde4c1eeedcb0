"""Admission rules for any GGUF file: its frame, before what it says of a model."""

from __future__ import annotations

from math import isfinite
from typing import Final

from appliance.gguf.header import Header
from appliance.gguf.values import FLOATS, NumberArray

_LEAST_ALIGNMENT: Final = 32
"""What llama.cpp's CPU buffers need; it aborts below."""
_MOST_ALIGNMENT: Final = 4096
_TEMPLATE_BYTES: Final = 256 * 1024
_TEMPLATE_KEY: Final = "tokenizer.chat_template"


def version(header: Header) -> str | None:
    return (
        None
        if header.version == 3
        else f"GGUF version {header.version} is out of date; convert it to version 3"
    )


def alignment(header: Header) -> str | None:
    if _LEAST_ALIGNMENT <= header.alignment <= _MOST_ALIGNMENT:
        return None
    return f"its alignment, {header.alignment}, is not one of {_LEAST_ALIGNMENT} to {_MOST_ALIGNMENT}"


def offsets(header: Header) -> str | None:
    """Tensors lie one behind the other, padded to the alignment, and end within the file."""
    expected = 0
    room = header.file_bytes - header.data_offset
    for tensor in header.tensors:
        if tensor.offset != expected:
            return f"tensor '{tensor.name}' is at {tensor.offset}, expected at {expected}"
        if tensor.offset + tensor.size_bytes > room:
            missing = tensor.offset + tensor.size_bytes - room
            return f"the file ends {missing} bytes before the end of tensor '{tensor.name}'"
        expected += tensor.size_bytes + -tensor.size_bytes % header.alignment
    return None


def floats(header: Header) -> str | None:
    for key, value in header.metadata.items():
        if isinstance(value, float) and not isfinite(value):
            return f"{key} is {value}"
        if isinstance(value, NumberArray) and value.item_type in FLOATS and not all(map(isfinite, value)):
            return f"{key} holds a number that is not finite"
    return None


def templates(header: Header) -> str | None:
    """The chat template and its named siblings."""
    for key, value in header.metadata.items():
        if key != _TEMPLATE_KEY and not key.startswith(f"{_TEMPLATE_KEY}."):
            continue
        if isinstance(value, str) and len(value.encode()) > _TEMPLATE_BYTES:
            return f"{key} has {len(value.encode())} bytes, more than {_TEMPLATE_BYTES}"
        if not isinstance(value, str) and key == _TEMPLATE_KEY:
            return f"{key} is no text"
    return None
