"""Small models put into a layout: a manifest, its config and its layers, all of made-up bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import ModelNotFound
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import Digest, digest_of
from appliance.store.layout import Layout
from appliance.store.manifest import render_manifest
from appliance.store.media_types import MODEL_CONFIG, MODEL_WEIGHT, OCI_MANIFEST
from appliance.store.reference import Reference, parse_reference


def blob_of(content: bytes, media_type: str = MODEL_WEIGHT) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))


class FakeSource:
    """Blobs and names in memory. Knobs: `chunk` bytes at a time, `fail_after` so many bytes (once),
    `corrupt`.
    """

    is_parallel = False

    def __init__(self, *, chunk: int = 1000, fail_after: int | None = None) -> None:
        self.contents: dict[Digest, bytes] = {}
        self.names: dict[str, Resolved] = {}
        self.served: list[tuple[int, int]] = []
        self.chunk = chunk
        self.fail_after = fail_after
        self.failure: Exception = ModelNotFound(model="gone", available=[])

    def add(self, content: bytes, media_type: str = MODEL_WEIGHT) -> Descriptor:
        descriptor = blob_of(content, media_type)
        self.contents[descriptor.digest] = content
        return descriptor

    def add_model(self, name: str, *weights: bytes, config: bytes = b"{}") -> Resolved:
        manifest = Manifest(
            media_type=OCI_MANIFEST,
            config=self.add(config, MODEL_CONFIG),
            layers=tuple(self.add(weight) for weight in weights),
        )
        content = render_manifest(manifest)
        resolved = Resolved(descriptor=self.add(content, OCI_MANIFEST), content=content)
        self.names[parse_reference(name).key] = resolved
        return resolved

    def resolve(self, reference: Reference) -> Resolved:
        return self.names[reference.key]

    def fetch(self, descriptor: Descriptor) -> bytes:
        return self.contents[descriptor.digest]

    @contextmanager
    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        stop = descriptor.size if end is None else min(end, descriptor.size)
        self.served.append((start, stop))
        yield self._chunks(self.contents[descriptor.digest], start, stop)

    def _chunks(self, content: bytes, start: int, stop: int) -> Iterator[bytes]:
        sent = 0
        for at in range(start, stop, self.chunk):
            if self.fail_after is not None and sent >= self.fail_after:
                self.fail_after = None
                raise self.failure
            part = content[at : min(at + self.chunk, stop)]
            yield part
            sent += len(part)


def store_model(layout: Layout, name: str, *weights: bytes, config: bytes = b"{}") -> Resolved:
    """Take and publish, as `copy` does."""
    source = FakeSource()
    resolved = source.add_model(name, *weights, config=config)
    for blob in (blob_of(config, MODEL_CONFIG), *(blob_of(weight) for weight in weights)):
        layout.take(blob, source, unreported)
    layout.publish(parse_reference(name), resolved)
    return resolved
