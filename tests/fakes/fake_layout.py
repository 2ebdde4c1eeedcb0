"""A `ReadableLayout` of files in a directory: models with the tags, variants and layers a test wants."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.errors import ModelBroken, ModelNotFound
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.media_types import MODEL_CONFIG, MODEL_WEIGHT, OCI_INDEX, OCI_MANIFEST
from appliance.store.reference import Reference, parse_reference


class FakeLayout:
    """Owned by the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.named: list[tuple[Reference, Descriptor]] = []
        self.broken: set[Digest] = set()

    def put(self, content: bytes, media_type: str = MODEL_WEIGHT) -> Descriptor:
        digest = digest_of(content)
        (self.directory / hex_of(digest)).write_bytes(content)
        return Descriptor(media_type=media_type, digest=digest, size=len(content))

    def model(self, name: str, *layers: bytes) -> Descriptor:
        """A model of that name with these weights."""
        manifest = self.manifest(*layers)
        self.named.append((parse_reference(name), manifest))
        return manifest

    def manifest(self, *layers: bytes) -> Descriptor:
        return self._document(
            OCI_MANIFEST,
            config=_object(self.put(b"{}", MODEL_CONFIG)),
            layers=[_object(self.put(layer)) for layer in layers],
        )

    def index(self, name: str, *manifests: Descriptor) -> Descriptor:
        """Variants under one name."""
        made = self._document(OCI_INDEX, manifests=[_object(manifest) for manifest in manifests])
        self.named.append((parse_reference(name), made))
        return made

    def _document(self, media_type: str, **fields: object) -> Descriptor:
        text = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields})
        return self.put(text.encode(), media_type)

    def references(self) -> list[tuple[Reference, Descriptor]]:
        return list(self.named)

    def fetch(self, descriptor: Descriptor) -> bytes:
        return self.path(descriptor.digest).read_bytes()

    def path(self, digest: Digest) -> Path:
        if digest in self.broken:
            raise ModelBroken(model=digest, reason="its bytes have changed")
        found = self.directory / hex_of(digest)
        if not found.exists():
            raise ModelNotFound(model=digest, available=[])
        return found


def _object(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
