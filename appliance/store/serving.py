"""What a runner and the doors need of each stored model: its files and its defaults. No bytes are hashed for
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from appliance.errors import (
    FileUnreadable,
    ManifestInvalid,
    ModelBroken,
    ModelInvalid,
    ModelNotFound,
    StoreFault,
)
from appliance.modelfile.parameters import EngineSettings
from appliance.store.derived import Derivations
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.model import StoredModel
from appliance.store.model_settings import settings_of
from appliance.store.reader import ModelReader
from appliance.store.reference import Reference
from appliance.store.template import ServedTemplate, served_template

UNCHECKED: Final = "it is being checked after an unclean stop; try again soon"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """One name. Where `broken` is told, the rest may be empty."""

    name: str
    digest: Digest | None = None
    """What the name stands for."""
    paths: tuple[Path, ...] = ()
    """More than one: the parts of a split GGUF, in order."""
    adapters: tuple[Path, ...] = ()
    draft: Path | None = None
    template: ServedTemplate | None = None
    system: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    """(role, text)."""
    parameters: EngineSettings = field(default_factory=EngineSettings)
    size_bytes: int = 0
    broken: str | None = None
    optimized: str | None = None
    """Which variant is served, or why the measured one is not."""
    hint: str | None = None
    """What there may be to gain by one."""


def serve_spec(
    layout: Layout,
    reader: ModelReader,
    reference: Reference,
    descriptor: Descriptor,
    *,
    derivations: Derivations | None = None,
    only_known: bool = False,
) -> ServeSpec:
    """Never raises for one bad model: it is told as broken. `only_known`: so is one that would have to be
    hashed.
    """
    name = reference.display
    if reason := layout.broken(descriptor):
        return ServeSpec(name=name, digest=descriptor.digest, broken=reason)
    try:
        model = reader.model(descriptor)
        if only_known and not all(_is_known(layout, blob) for blob in model.files):
            return ServeSpec(name=name, digest=descriptor.digest, broken=UNCHECKED)
        sound = replace(_sound(layout, model, name), digest=descriptor.digest)
        if derivations is None:
            return sound
        return _optimized(layout, sound, descriptor, derivations, model, only_known=only_known)
    except (
        FileUnreadable,
        ManifestInvalid,
        ModelBroken,
        ModelInvalid,
        ModelNotFound,
        StoreFault,
    ) as error:
        reason = str(error.fields.get("reason", error.message))
        return ServeSpec(name=name, digest=descriptor.digest, broken=reason)


def _optimized(
    layout: Layout,
    spec: ServeSpec,
    named: Descriptor,
    derivations: Derivations,
    model: StoredModel,
    *,
    only_known: bool,
) -> ServeSpec:
    """With the variant's weights, where there is one to be served; it is never worth a broken model."""
    told = derivations.told(named, model.facts.quantization)
    spec = replace(spec, optimized=told.optimized, hint=told.hint)
    found = derivations.served(named)
    if found is None or found.weights is None:
        return spec
    if only_known and not _is_known(layout, found.weights):
        return replace(spec, optimized=f"the original is served: the variant is unchecked; {UNCHECKED}")
    try:
        path = layout.path(found.weights.digest)
    except (FileUnreadable, ModelBroken, ModelNotFound, StoreFault) as error:
        reason = error.fields.get("reason", error.message)
        return replace(spec, optimized=f"the original is served, the variant is broken: {reason}")
    size_bytes = spec.size_bytes - sum(blob.size for blob in model.weights) + found.weights.size
    return replace(spec, paths=(path,), size_bytes=size_bytes)


def _is_known(layout: Layout, blob: Descriptor) -> bool:
    found = layout.blobs.status(blob.digest)
    return found is not None and layout.blobs.verified.knows(blob.digest, found)


def _sound(layout: Layout, model: StoredModel, name: str) -> ServeSpec:
    paths = tuple(layout.path(blob.digest) for blob in model.weights)
    return ServeSpec(
        name=name,
        paths=paths,
        adapters=tuple(layout.path(blob.digest) for blob in model.adapters),
        draft=_optional(layout, model.draft),
        template=served_template(model, paths[0]),
        system=model.system,
        messages=tuple((message.role, message.content) for message in model.messages),
        parameters=settings_of(model.params, model=name),
        size_bytes=sum(blob.size for blob in (*model.weights, *model.adapters)),
    )


def _optional(layout: Layout, blob: Descriptor | None) -> Path | None:
    return None if blob is None else layout.path(blob.digest)
