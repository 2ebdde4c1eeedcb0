"""Writes a model as a CNCF ModelPack artifact (ADR 0008): a manifest, its config, and the small layers.

    artifactType  application/vnd.cncf.model.manifest.v1+json
    config        application/vnd.cncf.model.config.v1+json        descriptor, config, modelfs
    layers        application/vnd.cncf.model.weight.v1.raw         model.gguf, or model-00001-of-00003.gguf …,
                                                                   adapter-1.gguf …, mmproj.gguf, draft.gguf
                  application/vnd.cncf.model.weight.config.v1.raw  template.jinja (or template.gotmpl),
                                                                   system.txt, params.json, messages.json,
                                                                   facts.json
                  application/vnd.cncf.model.doc.v1.raw            LICENSE, LICENSE-2 …

Each layer is one file as it is, so its digest is that of the same file in any other standard, and blobs are
shared. Pure: the same parts give the same bytes. `model.read_model` is the inverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from appliance.errors import ManifestInvalid
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import digest_of
from appliance.store.manifest import render_manifest
from appliance.store.media_types import (
    FILEPATH,
    MODEL_CONFIG,
    MODEL_DOC,
    MODEL_MANIFEST,
    MODEL_WEIGHT,
    MODEL_WEIGHT_CONFIG,
    OCI_MANIFEST,
    TITLE,
)
from appliance.store.model import StoredModel
from appliance.store.modelpack_config import render, render_extras

Parts: TypeAlias = StoredModel
"""What a new artifact is made of. Its GGUFs may come from any other artifact: digest and size count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A whole artifact but for the GGUF files."""

    manifest: Manifest
    content: bytes
    """The manifest's bytes."""
    blobs: tuple[tuple[Descriptor, bytes], ...]
    """Config and small layers: to be stored before the manifest. Each digest once."""

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(
            media_type=self.manifest.media_type,
            digest=digest_of(self.content),
            size=len(self.content),
            artifact_type=self.manifest.artifact_type,
        )


def compose(parts: Parts) -> Composed:
    """Raises ManifestInvalid for parts that make no model, or too large a manifest."""
    if not parts.weights:
        raise ManifestInvalid(what="the model", reason="has no weights")
    small = tuple(_small_layers(parts))
    layers = (*_gguf_layers(parts), *(layer for layer, _ in small))
    config = render(parts.facts, tuple(layer.digest for layer in layers))
    described = Descriptor(media_type=MODEL_CONFIG, digest=digest_of(config), size=len(config))
    manifest = Manifest(
        media_type=OCI_MANIFEST, artifact_type=MODEL_MANIFEST, config=described, layers=layers
    )
    blobs = {layer.digest: (layer, content) for layer, content in (*small, (described, config))}
    return Composed(manifest=manifest, content=render_manifest(manifest), blobs=tuple(blobs.values()))


def weight_layers(weights: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """The files of one model under their names in our artifacts."""
    count = len(weights)
    if count == 1:
        return (_gguf("model.gguf", weights[0]),)
    return tuple(
        _gguf(f"model-{number:05}-of-{count:05}.gguf", weight) for number, weight in enumerate(weights, 1)
    )


def _gguf_layers(parts: Parts) -> Iterator[Descriptor]:
    yield from weight_layers(parts.weights)
    for number, adapter in enumerate(parts.adapters, 1):
        yield _gguf(f"adapter-{number}.gguf", adapter)
    if parts.projector is not None:
        yield _gguf("mmproj.gguf", parts.projector)
    if parts.draft is not None:
        yield _gguf("draft.gguf", parts.draft)


def _small_layers(parts: Parts) -> Iterator[tuple[Descriptor, bytes]]:
    if parts.template:
        name = "template.gotmpl" if parts.template_kind == "go" else "template.jinja"
        yield _file(MODEL_WEIGHT_CONFIG, name, parts.template.encode())
    if parts.system:
        yield _file(MODEL_WEIGHT_CONFIG, "system.txt", parts.system.encode())
    if parts.params:
        yield _file(MODEL_WEIGHT_CONFIG, "params.json", _json(dict(sorted(parts.params.items()))))
    if parts.messages:
        turns = [{"role": message.role, "content": message.content} for message in parts.messages]
        yield _file(MODEL_WEIGHT_CONFIG, "messages.json", _json(turns))
    extras = render_extras(parts.facts)
    if extras is not None:
        yield _file(MODEL_WEIGHT_CONFIG, "facts.json", extras)
    for number, licence in enumerate(filter(None, parts.licences), 1):
        yield _file(MODEL_DOC, "LICENSE" if number == 1 else f"LICENSE-{number}", licence.encode())


def _gguf(name: str, blob: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=MODEL_WEIGHT, digest=blob.digest, size=blob.size, annotations=_annotations(name)
    )


def _file(media_type: str, name: str, content: bytes) -> tuple[Descriptor, bytes]:
    layer = Descriptor(
        media_type=media_type, digest=digest_of(content), size=len(content), annotations=_annotations(name)
    )
    return layer, content


def _annotations(name: str) -> dict[str, str]:
    """ModelPack's name of the file, and the one by which `oras pull` writes it."""
    return {FILEPATH: name, TITLE: name}


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
