"""Small models for the scenarios: blobs of some kilobytes, a manifest, a source that gives them in pieces."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache

from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import digest_of
from appliance.store.layout import Layout
from appliance.store.reference import Reference, parse_reference

BLOB_BYTES = 24_000
PIECE_BYTES = 8_000
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"
_CONFIG = "application/vnd.cncf.model.config.v1+json"


class SourceBroke(Exception):
    """The stick was pulled, the network went."""


@cache
def blob(seed: int) -> bytes:
    return random.Random(seed).randbytes(BLOB_BYTES)


def descriptor_of(content: bytes, media_type: str = _WEIGHTS) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A name and the seeds of its layers."""

    name: str
    layers: tuple[int, ...]

    @property
    def reference(self) -> Reference:
        return parse_reference(self.name)

    @property
    def contents(self) -> tuple[tuple[Descriptor, bytes], ...]:
        return _contents(self)

    @property
    def manifest(self) -> Resolved:
        return _manifest(self)

    @property
    def digest(self) -> str:
        return self.manifest.descriptor.digest

    @property
    def digests(self) -> frozenset[str]:
        """Of all its blobs, the manifest's too."""
        return frozenset({self.digest, *(descriptor.digest for descriptor, _ in self.contents)})

    def arrive(self, layout: Layout, *, breaks_after: int | None = None) -> None:
        """As `copy` brings it: blobs, then manifest and name."""
        source = PieceSource(dict(self.contents_by_digest()), breaks_after=breaks_after)
        descriptors = [descriptor for descriptor, _ in self.contents]
        with layout.hold([descriptor.digest for descriptor in descriptors]):
            for descriptor in descriptors:
                if not layout.has(descriptor):
                    layout.take(descriptor, source, unreported)
            layout.publish(self.reference, self.manifest)

    def contents_by_digest(self) -> Iterator[tuple[str, bytes]]:
        for descriptor, content in self.contents:
            yield descriptor.digest, content


@cache
def _contents(model: Model) -> tuple[tuple[Descriptor, bytes], ...]:
    config = json.dumps({"name": model.name, "layers": list(model.layers)}).encode()
    layers = ((descriptor_of(blob(seed)), blob(seed)) for seed in model.layers)
    return (descriptor_of(config, _CONFIG), config), *layers


@cache
def _manifest(model: Model) -> Resolved:
    config, *layers = (_as_json(descriptor) for descriptor, _ in model.contents)
    content = json.dumps(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
    ).encode()
    return Resolved(descriptor=descriptor_of(content, _MANIFEST), content=content)


class PieceSource:
    """A `Source` of blobs in memory. `breaks_after`: pieces until it breaks off."""

    is_parallel = False

    def __init__(self, blobs: dict[str, bytes], *, breaks_after: int | None = None) -> None:
        self._blobs = blobs
        self._left = breaks_after

    def resolve(self, reference: Reference) -> Resolved:
        raise NotImplementedError(reference)

    def fetch(self, descriptor: Descriptor) -> bytes:
        return self._blobs[descriptor.digest]

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return self._opened(self._blobs[descriptor.digest][start:end])

    @contextmanager
    def _opened(self, content: bytes) -> Iterator[Iterator[bytes]]:
        yield self._pieces(content)

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), PIECE_BYTES):
            if self._left is not None:
                if self._left == 0:
                    raise SourceBroke
                self._left -= 1
            yield content[start : start + PIECE_BYTES]


def _as_json(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
