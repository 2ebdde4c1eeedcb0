"""A header without its vocabulary, which is most of it: what sizes depend on."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from appliance.gguf.header import Header
from appliance.gguf.shape import read_shape
from appliance.gguf.values import NumberArray

_MAX_ITEMS: Final = 1024
"""Of an array or a text that is kept: what has one item per layer is shorter."""


def slim(header: Header) -> Header:
    return replace(header, metadata=slim_metadata(header), types={})


def slim_metadata(header: Header) -> dict[str, Any]:
    """Of the architecture, with the number of tokens in the place of the tokens."""
    shape = read_shape(header)
    kept = {
        key: value
        for key, value in header.metadata.items()
        if key.startswith((f"{shape.architecture}.", "general.architecture")) and _is_short(value)
    }
    return kept if shape.n_vocab is None else kept | {f"{shape.architecture}.vocab_size": shape.n_vocab}


def _is_short(value: object) -> bool:
    if isinstance(value, (str, NumberArray)):
        return len(value) <= _MAX_ITEMS
    return isinstance(value, (bool, int, float))
