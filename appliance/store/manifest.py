"""Manifests and indexes as bytes: untrusted ones in, ours out.

Reads OCI image manifests and indexes, Docker's schema 2 and manifest lists (Ollama's are of that kind). What
the bytes say of themselves decides, never an HTTP header: a document that could be read as both a manifest
and an index is refused. Cycles cannot be: entries are named by the digests of their bytes, an index holds no
manifest's layers, and whoever walks (`copy`, `variants`) goes from an index to manifests and no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from appliance.errors import InvalidReference, ManifestInvalid
from appliance.store import strict_json
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.digest import Digest, parse_digest
from appliance.store.media_types import IMAGE_MANIFESTS, INDEXES, OCI_INDEX, OCI_MANIFEST

MAX_BYTES: Final = 4 * 1024 * 1024
"""OCI's own advice to registries and clients."""
MAX_LAYERS: Final = 1_000
MAX_MANIFESTS: Final = 10_000
"""In one index; the store's own has one for each name."""
MAX_BLOB_BYTES: Final = 1 << 50
"""Of one blob, and of all blobs of a manifest together."""
MAX_ANNOTATIONS: Final = 256
MAX_KEY_CHARS: Final = 256
MAX_VALUE_CHARS: Final = 64 * 1024

# RFC 6838, 4.2; without parameters.
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)

_Annotations = dict[str, str] | None


class _Descriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """`urls`, `data` and `platform` are let be: content comes from where the manifest came, by its digest."""

    media_type: str
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_BYTES)]
    artifact_type: str | None = None
    annotations: _Annotations = None


class _Document(msgspec.Struct, rename="camel", omit_defaults=True):
    """Either kind; Go's encoders write an empty list as null."""

    schema_version: int
    media_type: str | None = None
    artifact_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    manifests: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    annotations: _Annotations = None


def parse_manifest(content: bytes, *, what: str) -> Manifest | ImageIndex:
    """`what` names the document in the error. Raises ManifestInvalid."""
    document = strict_json.decode(content, _Document, what=what, max_bytes=MAX_BYTES)
    if document.schema_version != 2:
        raise ManifestInvalid(what=what, reason=f"schema version {document.schema_version}; only 2 is read")
    if _is_index(document, what=what):
        return _index(document, what=what)
    return _manifest(document, what=what)


def render_manifest(manifest: Manifest) -> bytes:
    """The one form in which we write: a manifest's digest depends on nothing but its content."""
    return _encode(
        _Document(
            schema_version=2,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            config=_struct(manifest.config),
            layers=[_struct(layer) for layer in manifest.layers],
            annotations=_plain(manifest.annotations),
        ),
        what="the manifest",
        entries=len(manifest.layers),
        limit=MAX_LAYERS,
    )


def render_index(index: ImageIndex) -> bytes:
    """Raises ManifestInvalid when there is more in it than `parse_manifest` would read back."""
    return _encode(
        _Document(
            schema_version=2,
            media_type=index.media_type,
            manifests=[_struct(entry) for entry in index.manifests],
            annotations=_plain(index.annotations),
        ),
        what="the index",
        entries=len(index.manifests),
        limit=MAX_MANIFESTS,
    )


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _is_index(document: _Document, *, what: str) -> bool:
    has_layers = document.config is not None or document.layers is not msgspec.UNSET
    has_manifests = document.manifests is not msgspec.UNSET
    if has_layers and has_manifests:
        raise ManifestInvalid(what=what, reason="is both a manifest and an index")
    if not has_layers and not has_manifests:
        raise ManifestInvalid(what=what, reason="has neither layers nor manifests")
    named = document.media_type
    if named is not None and named not in (INDEXES if has_manifests else IMAGE_MANIFESTS):
        raise ManifestInvalid(what=what, reason=f"its content does not fit its type {named[:200]!r}")
    return has_manifests


def _index(document: _Document, *, what: str) -> ImageIndex:
    entries = document.manifests or []
    if len(entries) > MAX_MANIFESTS:
        raise ManifestInvalid(
            what=what, reason=f"has {len(entries)} manifests, at most {MAX_MANIFESTS} are read"
        )
    manifests = tuple(_descriptor(entry, what=what) for entry in entries)
    _check_sizes(manifests, what=what)
    return ImageIndex(
        media_type=document.media_type or OCI_INDEX,
        manifests=manifests,
        annotations=_annotations(document.annotations, what=what),
    )


def _manifest(document: _Document, *, what: str) -> Manifest:
    if document.config is None:
        raise ManifestInvalid(what=what, reason="has no config")
    entries = document.layers or []
    if len(entries) > MAX_LAYERS:
        raise ManifestInvalid(what=what, reason=f"has {len(entries)} layers, at most {MAX_LAYERS} are read")
    config = _descriptor(document.config, what=what)
    layers = tuple(_descriptor(entry, what=what) for entry in entries)
    _check_sizes((config, *layers), what=what)
    return Manifest(
        media_type=document.media_type or OCI_MANIFEST,
        config=config,
        layers=layers,
        artifact_type=_artifact_type(document.artifact_type, what=what),
        annotations=_annotations(document.annotations, what=what),
    )


def _descriptor(entry: _Descriptor, *, what: str) -> Descriptor:
    return Descriptor(
        media_type=_media_type(entry.media_type, what=what),
        digest=_digest(entry.digest, what=what),
        size=entry.size,
        annotations=_annotations(entry.annotations, what=what),
        artifact_type=_artifact_type(entry.artifact_type, what=what),
    )


def _check_sizes(blobs: Iterable[Descriptor], *, what: str) -> None:
    """One digest has one size, and all of them together stay within reason."""
    sizes: dict[Digest, int] = {}
    for blob in blobs:
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise ManifestInvalid(what=what, reason=f"gives {blob.digest} two sizes")
    if sum(sizes.values()) > MAX_BLOB_BYTES:
        raise ManifestInvalid(what=what, reason=f"lists more than {MAX_BLOB_BYTES} bytes")


def _media_type(text: str, *, what: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise ManifestInvalid(what=what, reason=f"{text[:200]!r} is no media type")
    return text


def _artifact_type(text: str | None, *, what: str) -> str | None:
    return _media_type(text, what=what) if text else None  # older writers leave an empty one behind


def _digest(text: str, *, what: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidReference as error:
        raise ManifestInvalid(
            what=what, reason=f"{text[:200]!r} is no digest: {error.fields['reason']}"
        ) from error


def _annotations(given: _Annotations, *, what: str) -> Mapping[str, str]:
    if not given:
        return MappingProxyType({})
    if len(given) > MAX_ANNOTATIONS:
        raise ManifestInvalid(
            what=what, reason=f"has {len(given)} annotations, at most {MAX_ANNOTATIONS} are read"
        )
    for key, value in given.items():
        if len(key) > MAX_KEY_CHARS or len(value) > MAX_VALUE_CHARS:
            raise ManifestInvalid(what=what, reason=f"the annotation {key[:80]!r} is too long")
    return MappingProxyType(given)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


def _encode(document: _Document, *, what: str, entries: int, limit: int) -> bytes:
    if entries > limit:
        raise ManifestInvalid(what=what, reason=f"has {entries} entries, at most {limit} can be read back")
    content = msgspec.json.encode(document)
    if len(content) > MAX_BYTES:
        raise ManifestInvalid(
            what=what, reason=f"has {len(content)} bytes, at most {MAX_BYTES} can be read back"
        )
    return content


def _struct(descriptor: Descriptor) -> _Descriptor:
    return _Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        artifact_type=descriptor.artifact_type,
        annotations=_plain(descriptor.annotations),
    )


def _plain(annotations: Mapping[str, str]) -> _Annotations:
    return dict(sorted(annotations.items())) or None
