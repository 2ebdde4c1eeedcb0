"""The names of a store whose `index.json` was lost or damaged, built again. Never done unasked: see
`recovery.py`.

1. What `index.json.copy` names, where the manifest is still there and sound: all names, but for a change that
   a crash or a full disk kept from it.
2. Every other manifest among the blobs that is no variant, of an index or made here: as
   `recovered-<12 hex>:latest`.

The damaged index is kept in quarantine.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from appliance.errors import ManifestInvalid, OutpostError, StoreFault
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.files import Files, read_small, status_of
from appliance.store.lock import StoreLock
from appliance.store.manifest import MAX_BYTES, parse_manifest
from appliance.store.media_types import DERIVED
from appliance.store.names import Entry, entries_of, entry_for, read_index, render, renew_copy
from appliance.store.places import Places
from appliance.store.recovery import blob_digests
from appliance.store.reference import parse_reference

_DAMAGED: Final = "index.json.damaged"


def recover_index(root: Path, *, files: Files) -> list[str]:
    """The names that are there afterwards. The store must not be open. Raises StoreInUse, StoreFault."""
    places = Places(root)
    with closing(StoreLock(places, files)):
        return rebuild(places, files)


def rebuild(places: Places, files: Files) -> list[str]:
    """The same, of a store that the caller has open and whose index nobody else writes meanwhile."""
    manifests = _manifests(places)
    named = [entry for entry in _remembered(places) if entry.descriptor.digest in manifests]
    entries = [*named, *_nameless(manifests, named)]
    if status_of(places.index):
        files.mkdir(places.quarantine)
        files.rename(places.index, places.quarantine / _DAMAGED)
        files.fsync_dir(places.quarantine)
    files.write_aside(places.index, render([entry.raw for entry in entries]))
    renew_copy(places, files)
    return [entry.name for entry in entries if entry.name]


def _remembered(places: Places) -> list[Entry]:
    for path in (places.index, places.index_copy):
        try:
            return list(entries_of(read_index(path)))
        except (ManifestInvalid, StoreFault):
            continue
    return []


def _manifests(places: Places) -> dict[Digest, tuple[Descriptor, Manifest | ImageIndex]]:
    """Small sound blobs that can be read as one."""
    found = {}
    for digest in blob_digests(places):
        try:
            content = read_small(places.blob(digest), MAX_BYTES) or b""
            manifest = parse_manifest(content, what=digest)
        except OutpostError:
            continue
        if digest_of(content) == digest:
            descriptor = Descriptor(
                media_type=manifest.media_type,
                digest=digest,
                size=len(content),
                artifact_type=manifest.artifact_type if isinstance(manifest, Manifest) else None,
            )
            found[digest] = (descriptor, manifest)
    return found


def _nameless(
    manifests: dict[Digest, tuple[Descriptor, Manifest | ImageIndex]], named: list[Entry]
) -> list[Entry]:
    known = {entry.descriptor.digest for entry in named}
    for digest, (descriptor, manifest) in manifests.items():
        if descriptor.artifact_type == DERIVED:
            known.add(digest)
        if isinstance(manifest, ImageIndex):
            known.update(variant.digest for variant in manifest.manifests)
    return [
        entry_for(parse_reference(f"recovered-{hex_of(digest)[:12]}"), descriptor)
        for digest, (descriptor, _) in manifests.items()
        if digest not in known
    ]
