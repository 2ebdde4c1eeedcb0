"""What `outpost show` tells of one stored model. Facts only; `shown.py` gathers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from appliance.optimizing.record import Record
from appliance.store.listing import ListedModel

_NONE: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTensor:
    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownModel:
    """Everything there is to say; the doors choose what they print."""

    listed: ListedModel
    modelfile: str
    """Rendered anew: FROM is a path inside the store where the model has no other base."""
    parameters: Mapping[str, object]
    """Defaults that requests may override, by Ollama's names; a list where a name may repeat."""
    template: str | None
    """Jinja, as it is served; None: this model does not chat."""
    template_note: str | None
    """Where the template is from, or why there is none."""
    system: str | None
    messages: tuple[tuple[str, str], ...]
    """(role, text), put before each conversation."""
    licences: tuple[str, ...]
    capabilities: tuple[str, ...]
    """In Ollama's words: completion, tools, insert, embedding, thinking."""
    context_length: int | None
    embedding_length: int | None
    metadata: Mapping[str, object]
    """Of the GGUF, flat; long arrays are told by their length."""
    projector: Mapping[str, object] = field(default_factory=lambda: _NONE)
    tensors: tuple[ShownTensor, ...] = ()
    renderer: str | None = None
    """What of Ollama's own code the publisher asks for; what this engine does not have is among the notes."""
    parser: str | None = None
    requires: str | None = None
    notes: tuple[str, ...] = ()
    """What falls short, a sentence each."""
    variant: str | None = None
    """Which of several variants was chosen, and why."""
    calibrated: str | None = None
    """How it is served on this board since it was measured, or why not so."""
    optimization: Record | None = None
    """What was measured of variants made here, and decided; `listed.optimized` says whether it holds."""
