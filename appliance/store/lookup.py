"""Which content a name means: of the index as it stands, without a lock. Part of `Layout`."""

from __future__ import annotations

from typing import Final

from appliance.errors import ModelNotFound, OutpostError
from appliance.store.blobs import Blobs
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.graph import Graph
from appliance.store.names import Names
from appliance.store.reference import Reference

_MAX_AVAILABLE: Final = 50
"""How many names an error lists."""


def references(names: Names) -> list[tuple[Reference, Descriptor]]:
    """Every name, sorted, and the manifest or index it stands for."""
    named = [(entry.reference, entry.descriptor) for entry in names.entries() if entry.reference]
    return sorted(named, key=lambda pair: pair[0].key)


def find(names: Names, graph: Graph, blobs: Blobs, reference: Reference) -> Descriptor:
    """Raises ModelNotFound with what there is."""
    if reference.digest is not None:
        return _find_digest(names, graph, blobs, reference, reference.digest)
    entry = names.find(reference)
    if entry is None:
        raise not_found(names, reference)
    return entry.descriptor


def not_found(names: Names, reference: Reference) -> ModelNotFound:
    known = [one.display for one, _ in references(names)[:_MAX_AVAILABLE]]
    return ModelNotFound(model=reference.display, available=known)


def _find_digest(
    names: Names, graph: Graph, blobs: Blobs, reference: Reference, digest: Digest
) -> Descriptor:
    """A manifest that a name of this repository leads to, also as a variant; the tag beside a digest says
    nothing.
    """
    entries = [
        entry
        for entry in names.entries()
        if entry.reference and entry.reference.with_tag(reference.tag).key == reference.key
    ]
    for entry in entries:
        if entry.descriptor.digest == digest:
            return entry.descriptor
    for entry in entries:
        try:
            below, variants = graph.children(entry.descriptor)
        except OutpostError:
            continue
        found = [child for child in below if child.digest == digest] if variants else []
        if found and blobs.status(digest):
            return found[0]
    raise not_found(names, reference)
