"""What hangs on a name: the manifest it points to, and all blobs below."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

from appliance.errors import ManifestInvalid, OutpostError
from appliance.store.blobs import Blobs
from appliance.store.derived_link import linked
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.digest import Digest
from appliance.store.manifest import parse_manifest

MAX_DEPTH: Final = 3
"""An index of indexes of manifests; deeper ones nobody writes."""
_MAX_REMEMBERED: Final = 20_000


class Graph:
    """Any thread. Remembers what manifests list: a digest's content never changes."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._children: dict[Digest, tuple[tuple[Descriptor, ...], bool]] = {}

    def closure(self, top: Descriptor) -> dict[Digest, Descriptor]:
        """The manifest and everything it needs, the manifest first, and behind it what was derived from it
        here (`derived_link.py`). Variants of an index that are not here are left out, as long as one is.
        Raises ModelBroken, ModelNotFound, ManifestInvalid for a manifest that cannot be read.
        """
        found = self._needed(top)
        derived = linked(top)
        if derived is not None:
            with suppress(OutpostError):  # the model is whole without it
                found.update(self._needed(derived))
        return found

    def trouble(self, top: Descriptor) -> str | None:
        """Why the model cannot be used, as far as known without hashing."""
        try:
            below = self._needed(top)
        except OutpostError as error:
            return self._blobs.trouble(top) or error.message
        return next((reason for blob in below.values() if (reason := self._blobs.trouble(blob))), None)

    def children(self, manifest: Descriptor) -> tuple[tuple[Descriptor, ...], bool]:
        """Config and layers, or the variants of an index (then True)."""
        with self._lock:
            known = self._children.get(manifest.digest)
        if known is None:
            known = parse_children(self._blobs.read(manifest), what=f"manifest {manifest.digest}")
            self._remember(manifest.digest, known)
        return known

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """What somebody else has read of a manifest just now, so that it is not read twice."""
        self._remember(digest, (manifest.blobs, False))

    def _needed(self, top: Descriptor) -> dict[Digest, Descriptor]:
        found: dict[Digest, Descriptor] = {top.digest: top}
        self._descend(top, found, MAX_DEPTH)
        return found

    def _remember(self, digest: Digest, children: tuple[tuple[Descriptor, ...], bool]) -> None:
        with self._lock:
            if len(self._children) >= _MAX_REMEMBERED:
                self._children.clear()
            self._children[digest] = children

    def _descend(self, manifest: Descriptor, found: dict[Digest, Descriptor], depth: int) -> None:
        if depth == 0:
            raise ManifestInvalid(what=f"index {manifest.digest}", reason="indexes are nested too deeply")
        below, variants = self.children(manifest)
        if not variants:
            found.update((blob.digest, blob) for blob in below)
            return
        here = [child for child in below if self._is_here(child)]
        if not here:
            raise ManifestInvalid(what=f"index {manifest.digest}", reason="none of its variants is here")
        for child in here:
            found[child.digest] = child
            self._descend(child, found, depth - 1)

    def _is_here(self, child: Descriptor) -> bool:
        # One in quarantine was here: the model is broken, not smaller.
        return (
            self._blobs.status(child.digest) is not None
            or self._blobs.quarantine_reason(child.digest) is not None
        )


def parse_children(content: bytes, *, what: str) -> tuple[tuple[Descriptor, ...], bool]:
    manifest = parse_manifest(content, what=what)
    if isinstance(manifest, ImageIndex):
        return manifest.manifests, True
    return manifest.blobs, False
