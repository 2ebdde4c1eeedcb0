"""Artifacts of any standard, made layer by layer, with their blobs in memory."""

from __future__ import annotations

import json
from typing import Final

from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest, digest_of
from appliance.store.manifest import parse_manifest, render_manifest
from appliance.store.model import StoredModel, read_model

DOCKER_IMAGE: Final = "application/vnd.docker.container.image.v1+json"
OLLAMA: Final = "application/vnd.ollama.image."
DOCKER: Final = "application/vnd.docker.ai."
CNCF: Final = "application/vnd.cncf.model."
CNAI: Final = "application/vnd.cnai.model."
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
FILEPATH: Final = "org.cncf.model.filepath"
TITLE: Final = "org.opencontainers.image.title"


class Artifact:
    """A manifest in the making, with its blobs."""

    def __init__(self, config_type: str = OCI_EMPTY, config: object = None) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.fetched: list[Digest] = []
        self.layers: list[Descriptor] = []
        self.config = self._store(config_type, json.dumps({} if config is None else config).encode(), {})

    def add(
        self, media_type: str, content: bytes | str | object, name: str | None = None, key: str = FILEPATH
    ) -> Artifact:
        if isinstance(content, str):
            content = content.encode()
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.layers.append(self._store(media_type, raw, {key: name} if name is not None else {}))
        return self

    def read(self) -> StoredModel:
        manifest = Manifest(
            media_type="application/vnd.oci.image.manifest.v1+json",
            config=self.config,
            layers=tuple(self.layers),
        )
        parsed = parse_manifest(render_manifest(manifest), what="m")
        assert isinstance(parsed, Manifest)
        return read_model(parsed, self.fetch, what="m")

    def fetch(self, blob: Descriptor) -> bytes:
        self.fetched.append(blob.digest)
        return self.blobs[blob.digest]

    def _store(self, media_type: str, content: bytes, annotations: dict[str, str]) -> Descriptor:
        digest = digest_of(content)
        self.blobs[digest] = content
        return Descriptor(media_type=media_type, digest=digest, size=len(content), annotations=annotations)


def model() -> Artifact:
    """The least there is: one file of weights."""
    return Artifact().add(OLLAMA + "model", b"w")
