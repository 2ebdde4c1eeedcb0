"""What a publisher says of a model, in one form; `config_reader` reads it from four.

Facts to show and to choose by; the GGUF's header has the last word wherever it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from appliance.store.descriptor import Descriptor

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024

Fetch = Callable[[Descriptor], bytes]
"""A small blob as a whole, verified."""

Word = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[ -~]*\Z")]
"""Shown in tables and compared: printable ASCII."""
Text = Annotated[str, msgspec.Meta(max_length=16_384)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Where a model is from; ModelPack's `descriptor`."""

    created: str | None = None
    """RFC 3339."""
    authors: tuple[str, ...] = ()
    family: str | None = None
    name: str | None = None
    version: str | None = None
    title: str | None = None
    description: str | None = None
    doc_url: str | None = None
    source_url: str | None = None
    datasets_urls: tuple[str, ...] = ()
    revision: str | None = None
    vendor: str | None = None
    licences: tuple[str, ...] = ()
    """SPDX identifiers; the texts are layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What the publisher says; None: nothing."""

    architecture: str | None = None
    format: str | None = None
    parameters: str | None = None
    """As people write it: `135M`."""
    quantization: str | None = None
    precision: str | None = None
    context_length: int | None = None
    """Tokens the model was trained for."""
    embedding_length: int | None = None
    size_bytes: int | None = None
    """Of all GGUF files together; counted, not believed."""
    families: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    """In Ollama's words: completion, tools, insert, vision, audio, embedding, thinking."""
    renderer: str | None = None
    """Ollama's built-in prompt renderer and answer parser that the model asks for."""
    parser: str | None = None
    requires: str | None = None
    """Ollama's version that the model asks for."""
    about: About = About()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig:
    facts: ModelConfig
    context_size: int | None = None
    """Docker's wish for the context that is served: what Ollama calls the parameter num_ctx."""
