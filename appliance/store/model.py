"""A stored model as the rest of the house sees it, whichever standard its manifest follows.

Reads the small blobs (config, template, parameters …), each bounded before it is fetched; weights are named,
not opened. Ollama's, Docker's, ModelPack's and its elders' artifacts all become one `StoredModel`;
`artifact.compose` writes one in ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from appliance.errors import ManifestInvalid
from appliance.store import strict_json
from appliance.store.config_reader import read_config
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.model_config import Fetch, ModelConfig, ReadConfig
from appliance.store.model_layers import Part, in_order, parts_of
from appliance.store.modelpack_config import with_extras

TemplateKind = Literal["jinja", "go"]
ParameterValue = bool | int | float | str | tuple[str, ...]

MAX_TEXT_BYTES: Final = 1024 * 1024
"""Of a template, a system prompt, the parameters, the messages, one licence."""
MAX_LICENCES: Final = 100
MAX_ADAPTERS: Final = 16
MAX_MESSAGES: Final = 10_000

_NONE: Mapping[str, ParameterValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn that stands before every conversation."""

    role: str
    """system | user | assistant"""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """The parts of a model. An empty text is none."""

    weights: tuple[Descriptor, ...]
    """More than one: a split model, in order."""
    projector: Descriptor | None = None
    adapters: tuple[Descriptor, ...] = ()
    draft: Descriptor | None = None
    template: str | None = None
    template_kind: TemplateKind | None = None
    system: str | None = None
    params: Mapping[str, ParameterValue] = field(default_factory=lambda: _NONE)
    """By Ollama's names, as written: not yet checked against what we serve."""
    messages: tuple[Message, ...] = ()
    licences: tuple[str, ...] = ()
    facts: ModelConfig = field(default_factory=ModelConfig)

    @property
    def files(self) -> tuple[Descriptor, ...]:
        """Every GGUF of it."""
        single = tuple(blob for blob in (self.projector, self.draft) if blob is not None)
        return (*self.weights, *self.adapters, *single)


def read_model(manifest: Manifest, fetch: Fetch, *, what: str = "the manifest") -> StoredModel:
    """`fetch` gives a small blob whole and verified; never called for more than a few MiB. Raises
    ManifestInvalid, and what `fetch` raises.
    """
    parts = parts_of(manifest, what=what)
    blobs = _Blobs(parts, fetch, what)
    config = read_config(manifest.config, fetch, what=what)
    template, kind = _template(blobs)
    stored = StoredModel(
        weights=in_order(parts[Part.WEIGHTS], what=what),
        projector=blobs.one(Part.PROJECTOR),
        adapters=blobs.several(Part.ADAPTER, limit=MAX_ADAPTERS),
        draft=blobs.one(Part.DRAFT),
        template=template,
        template_kind=kind,
        system=blobs.text(Part.SYSTEM),
        params=_params(blobs, config),
        messages=_messages(blobs),
        licences=tuple(filter(None, map(blobs.read, blobs.several(Part.LICENCE, limit=MAX_LICENCES)))),
    )
    return replace(stored, facts=_facts(blobs, config, stored))


class _Blobs:
    """The layers by their part, and the text in the small ones. Owned by one call of `read_model`."""

    def __init__(self, parts: Mapping[Part, list[Descriptor]], fetch: Fetch, what: str) -> None:
        self._parts = parts
        self._fetch = fetch
        self.what = what

    def several(self, part: Part, *, limit: int) -> tuple[Descriptor, ...]:
        found = self._parts[part]
        if len(found) > limit:
            raise ManifestInvalid(
                what=self.what, reason=f"has {len(found)} of {part}, at most {limit} are read"
            )
        return tuple(found)

    def one(self, part: Part) -> Descriptor | None:
        """Two of a kind are refused: every reader would choose for himself."""
        found = self.several(part, limit=1)
        return found[0] if found else None

    def text(self, part: Part) -> str | None:
        layer = self.one(part)
        return self.read(layer) or None if layer else None

    def read(self, layer: Descriptor) -> str:
        try:
            return self.raw(layer).decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"the layer {layer.digest} is no UTF-8 text"
            raise ManifestInvalid(what=self.what, reason=reason) from error

    def raw(self, layer: Descriptor) -> bytes:
        if layer.size > MAX_TEXT_BYTES:
            raise ManifestInvalid(
                what=self.what,
                reason=f"the layer {layer.digest} has {layer.size} bytes, at most {MAX_TEXT_BYTES} are read",
            )
        return self._fetch(layer)


def _template(blobs: _Blobs) -> tuple[str | None, TemplateKind | None]:
    jinja, go = blobs.text(Part.JINJA_TEMPLATE), blobs.text(Part.GO_TEMPLATE)
    if jinja and go:
        raise ManifestInvalid(what=blobs.what, reason="has two chat templates")
    if jinja:
        return jinja, "jinja"
    return (go, "go") if go else (None, None)


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


def _messages(blobs: _Blobs) -> tuple[Message, ...]:
    layer = blobs.one(Part.MESSAGES)
    if layer is None:
        return ()
    said = strict_json.decode(
        blobs.raw(layer), list[_Message], what=f"the messages of {blobs.what}", max_bytes=MAX_TEXT_BYTES
    )
    if len(said) > MAX_MESSAGES:
        raise ManifestInvalid(what=blobs.what, reason=f"has {len(said)} messages")
    return tuple(Message(role=message.role, content=message.content) for message in said)


def _params(blobs: _Blobs, config: ReadConfig) -> Mapping[str, ParameterValue]:
    params: dict[str, ParameterValue] = {}
    if config.context_size is not None:
        params["num_ctx"] = config.context_size
    layer = blobs.one(Part.PARAMS)
    if layer is not None:
        said = strict_json.decode(
            blobs.raw(layer),
            dict[str, bool | int | float | str | list[str]],
            what=f"the parameters of {blobs.what}",
            max_bytes=MAX_TEXT_BYTES,
        )
        params |= {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return MappingProxyType(params)


def _facts(blobs: _Blobs, config: ReadConfig, stored: StoredModel) -> ModelConfig:
    facts = config.facts
    layer = blobs.one(Part.EXTRAS)
    if layer is not None:
        facts = with_extras(facts, blobs.raw(layer), what=blobs.what)
    return replace(facts, size_bytes=sum(blob.size for blob in stored.files))
