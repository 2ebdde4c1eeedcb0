"""A store of Ollama's (`~/.ollama/models`) as a source of copies: read as it lies there, never written to.

manifests/<host>/<namespace>/<model>/<tag>    the manifest, byte for byte as it was pulled
blobs/sha256-<64 hex>                         a blob

Whoever wrote it is not believed: below the directory no link is followed, only what Ollama could have named
is looked at, manifests are bounded, and whoever takes a blob hashes it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import InvalidReference, ManifestInvalid, StoreFault
from appliance.store.blobs import Blobs
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.files import Files, read_small, status_of
from appliance.store.manifest import MAX_BYTES, parse_manifest
from appliance.store.outside import is_directory
from appliance.store.places import Places
from appliance.store.reference import Reference, parse_reference

MAX_MODELS: Final = 10_000
_LEVELS: Final = 4
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
"""Of any level; `:` is a port's. What is called otherwise (`.DS_Store`) is not Ollama's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaModel:
    """One tag, not read yet. `reference` is None where the name is none of ours."""

    path: Path
    name: str
    reference: Reference | None
    digest: Digest | None = None
    bare_tag: str | None = None


class _OllamaPlaces(Places):
    """Blobs lie in one directory, with the algorithm in their names."""

    __slots__ = ()

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / f"sha256-{hex_of(digest)}"


class OllamaStore:
    """Any thread. Nothing is kept open."""

    is_parallel = False

    def __init__(self, root: Path, *, files: Files) -> None:
        """Raises ManifestInvalid where it is none."""
        self._root = root
        self._manifests = root / "manifests"
        for directory in (self._manifests, root / "blobs"):
            found = status_of(directory)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise ManifestInvalid(what=str(root), reason=f"{directory.name}/ in it is no directory")
        self._places = _OllamaPlaces(root)
        self._blobs = Blobs(self._places, files, None, read_only=True)

    def models(self) -> tuple[OllamaModel, ...]:
        """All tags, sorted by name. Raises ManifestInvalid where a link stands among them, StoreFault."""
        found = []
        for path in self._below(self._manifests, _LEVELS):
            host, namespace, model, tag = path.relative_to(self._manifests).parts
            name = f"{host}/{namespace}/{model}:{tag}"
            found.append(OllamaModel(path=path, name=name, reference=_reference(name)))
            if len(found) > MAX_MODELS:
                raise ManifestInvalid(what=str(self._root), reason=f"it has more than {MAX_MODELS} models")
        return tuple(sorted(found, key=lambda model: model.name))

    def read(self, model: OllamaModel) -> Resolved:
        """Its manifest. All its blobs are there, of the right sizes, before the first of them is copied.
        Raises ManifestInvalid, StoreFault.
        """
        content = read_small(model.path, MAX_BYTES)
        what = f"{model.name} in {self._root}"
        if content is None:
            raise ManifestInvalid(what=what, reason="its manifest is gone")
        manifest = parse_manifest(content, what=what)
        if not isinstance(manifest, Manifest):
            raise ManifestInvalid(what=what, reason="it is an index; Ollama has none")
        for blob in manifest.blobs:
            if trouble := self._trouble(blob):
                raise ManifestInvalid(what=what, reason=f"{trouble}; have Ollama pull it again")
        return Resolved(
            descriptor=Descriptor(
                media_type=manifest.media_type, digest=digest_of(content), size=len(content)
            ),
            content=content,
        )

    def fetch(self, descriptor: Descriptor) -> bytes:
        return self._blobs.read(descriptor)

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return self._blobs.chunks(descriptor, start, end)

    def _trouble(self, blob: Descriptor) -> str | None:
        found = status_of(self._places.blob(blob.digest))
        if found is None:
            return f"blob {blob.digest} is missing"
        if not stat.S_ISREG(found.st_mode):
            return f"blob {blob.digest} is no plain file"
        if found.st_size != blob.size:
            return f"blob {blob.digest} has {found.st_size} of {blob.size} bytes"
        return None

    def _below(self, directory: Path, levels: int) -> Iterator[Path]:
        for entry in _entries(directory):
            if entry.is_symlink():
                inside = Path(entry.path).relative_to(self._root)
                raise ManifestInvalid(
                    what=str(self._root), reason=f"{inside} is a link, and links are not followed"
                )
            if entry.is_dir(follow_symlinks=False) and levels > 1:
                yield from self._below(Path(entry.path), levels - 1)
            elif not entry.is_dir(follow_symlinks=False) and levels == 1:
                yield Path(entry.path)


def is_ollama_store(path: Path) -> bool:
    """By its two directories; whether they are what they seem, the constructor looks."""
    return is_directory(path / "manifests") and is_directory(path / "blobs")


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            found: list[os.DirEntry[str]] = []
            for entry in entries:
                if len(found) > MAX_MODELS:
                    raise ManifestInvalid(
                        what=str(directory), reason=f"it has more than {MAX_MODELS} entries"
                    )
                if _NAME.fullmatch(entry.name):
                    found.append(entry)
            return found
    except OSError as error:
        raise StoreFault(path=str(directory), reason=error.strerror or str(error)) from error


def _reference(name: str) -> Reference | None:
    try:
        return parse_reference(name)
    except InvalidReference:
        return None
