"""What the manifests of a layout say, each read and parsed once: under one digest nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from appliance.errors import ManifestInvalid
from appliance.store.config_reader import read_config
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.digest import Digest
from appliance.store.manifest import parse_manifest
from appliance.store.model_config import ModelConfig
from appliance.store.model_layers import Part, in_order, parts_of

if TYPE_CHECKING:
    from appliance.store.model import StoredModel

_MAX_REMEMBERED: Final = 1024

T = TypeVar("T")


class Fetcher(Protocol):
    """The part of a `content.Source` that is needed here."""

    def fetch(self, descriptor: Descriptor) -> bytes:
        """A small blob, verified. Raises ModelBroken, StoreFault."""

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """What was read of it just now, so that nobody reads it again."""


class ModelReader:
    """Any thread."""

    def __init__(self, source: Fetcher) -> None:
        self._source = source
        self._manifests: _Remembered[Manifest] = _Remembered()
        self._models: _Remembered[StoredModel] = _Remembered()
        self._configs: _Remembered[ModelConfig] = _Remembered()

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Raises ManifestInvalid, also for an index: under a name of the store stands one model."""
        return self._manifests.get(descriptor.digest, lambda: self._read_manifest(descriptor))

    def model(self, descriptor: Descriptor) -> StoredModel:
        """Raises ManifestInvalid where it is no model."""
        from appliance.store.model import read_model  # noqa: PLC0415 - a list needs only `config`

        return self._models.get(
            descriptor.digest, lambda: read_model(self.manifest(descriptor), self._source.fetch)
        )

    def config(self, descriptor: Descriptor) -> ModelConfig:
        """What it says of itself, for a list: without its small layers. Raises ManifestInvalid."""
        return self._configs.get(descriptor.digest, lambda: self._read_config(descriptor))

    def keep_only(self, digests: Collection[Digest]) -> None:
        """Forget the rest."""
        self._manifests.keep_only(digests)
        self._models.keep_only(digests)
        self._configs.keep_only(digests)

    def _read_manifest(self, descriptor: Descriptor) -> Manifest:
        manifest = parse_manifest(self._source.fetch(descriptor), what=str(descriptor.digest))
        if not isinstance(manifest, Manifest):
            raise ManifestInvalid(what=str(descriptor.digest), reason="it is an index of several models")
        self._source.learn(descriptor.digest, manifest)
        return manifest

    def _read_config(self, descriptor: Descriptor) -> ModelConfig:
        manifest = self.manifest(descriptor)
        what = str(descriptor.digest)
        in_order(parts_of(manifest, what=what)[Part.WEIGHTS], what=what)
        return read_config(manifest.config, self._source.fetch, what=what).facts


class _Remembered(Generic[T]):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Digest, T] = {}

    def get(self, digest: Digest, make: Callable[[], T]) -> T:
        """Two threads may make the same one at once; it is the same."""
        with self._lock:
            known = self._known.get(digest)
        if known is None:
            known = make()
            with self._lock:
                if len(self._known) >= _MAX_REMEMBERED:
                    self._known.clear()
                self._known[digest] = known
        return known

    def keep_only(self, digests: Collection[Digest]) -> None:
        with self._lock:
            self._known = {digest: known for digest, known in self._known.items() if digest in digests}
