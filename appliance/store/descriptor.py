"""What OCI calls a descriptor, and the manifest that lists them. Values only; bytes and files are elsewhere.

`manifest.py` makes them from bytes that nobody trusts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from appliance.store.digest import Digest

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Type, digest and size of one blob."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest: OCI's or Docker's schema 2."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each digest once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """Several manifests under one name: variants of one model."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a reference stands for: a manifest or an index, byte-exact."""

    descriptor: Descriptor
    content: bytes
