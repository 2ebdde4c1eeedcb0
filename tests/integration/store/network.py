"""Parts of the store's tests over sockets: a model that is small to send, a store, a door to fakes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.http import Door, Patience
from appliance.store.layout import Layout
from appliance.store.manifest import render_manifest
from appliance.store.media_types import MODEL_CONFIG, MODEL_MANIFEST, MODEL_WEIGHT, OCI_MANIFEST
from appliance.store.outbound import HostSettings, Outbound

CONFIG = b'{"config":{"format":"gguf"},"descriptor":{},"modelfs":{"diffIds":[],"type":"layers"}}'
IMPATIENT = Patience(connect_s=2, head_s=1, small_s=1, stall_s=0.5, floor_bytes=4096, finish_s=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Bytes of a model: nothing here opens the weights."""

    weights: bytes
    manifest: Manifest
    content: bytes

    @property
    def blobs(self) -> list[bytes]:
        return [CONFIG, self.weights]

    @property
    def weight(self) -> Descriptor:
        return self.manifest.layers[0]

    @property
    def resolved(self) -> Resolved:
        return Resolved(
            descriptor=Descriptor(
                media_type=OCI_MANIFEST,
                digest=digest_of(self.content),
                size=len(self.content),
                artifact_type=MODEL_MANIFEST,
            ),
            content=self.content,
        )


def make_model(size: int = 9_000_000, seed: int = 1, declared_size: int | None = None) -> Model:
    """`declared_size`: what the manifest says of the weights."""
    weights = random.Random(seed).randbytes(size)
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        artifact_type=MODEL_MANIFEST,
        config=Descriptor(media_type=MODEL_CONFIG, digest=digest_of(CONFIG), size=len(CONFIG)),
        layers=(Descriptor(media_type=MODEL_WEIGHT, digest=digest_of(weights), size=declared_size or size),),
    )
    return Model(weights=weights, manifest=manifest, content=render_manifest(manifest))


class Hosted(Protocol):
    host: str


@contextmanager
def opened(root: Path) -> Iterator[Layout]:
    layout = Layout(root, files=Files(), floor_fraction=0.0)
    try:
        yield layout
    finally:
        layout.close()


@contextmanager
def door_to(
    *registries: Hosted,
    redirects_to: tuple[str, ...] = (),
    token: str | None = None,
    patience: Patience = IMPATIENT,
    more: Mapping[str, HostSettings] | None = None,
) -> Iterator[Door]:
    """A door that may go to these, and nowhere else."""
    hosts = {
        registry.host: HostSettings(insecure=True, redirects_to=redirects_to, token=token)
        for registry in registries
    }
    door = Door(Outbound(hosts={**hosts, **(more or {})}), patience=patience)
    try:
        yield door
    finally:
        door.close()
