"""Where the blobs of a name also lie: the repositories it was pulled from or pushed to, noted with the name
in `index.json`, so that a push within one registry has blobs mounted instead of sending them.

    "org.outpost.repositories": "registry.example/team/base registry.example/team/assistant"

It is a memory, not a promise: what has been removed there since is sent. It never leaves the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from appliance.errors import OutpostError, ResourceError
from appliance.store.derived_link import DERIVED_LINK
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.reference import Reference

HOMES: Final = "org.outpost.repositories"
"""Annotation of a name. A home is HOST/REPOSITORY."""
_PRIVATE: Final = frozenset({HOMES, DERIVED_LINK})
_MAX_HOMES: Final = 8
_MAX_CHARS: Final = 4096


def without_homes(descriptor: Descriptor) -> Descriptor:
    """As others give or get it: their homes are not ours, and ours are not for them; nor is what was derived
    on a board for it.
    """
    if not _PRIVATE & descriptor.annotations.keys():
        return descriptor
    kept = {key: value for key, value in descriptor.annotations.items() if key not in _PRIVATE}
    return replace(descriptor, annotations=kept)


def note(layout: Layout, reference: Reference, digest: Digest, home: str) -> None:
    """The content of the name lies in `home`, too. A disk that refuses loses only this memory."""

    def noted(before: Mapping[str, str]) -> dict[str, str]:
        homes = [home, *(known for known in _homes(before) if known != home)]
        return {**before, HOMES: " ".join(homes[:_MAX_HOMES])}

    with suppress(ResourceError):
        layout.annotate(reference, digest, noted)


def mounts(layout: Layout, target: Reference) -> dict[Digest, str]:
    """Blobs that lie in another repository of the target's registry, and in which."""
    found: dict[Digest, str] = {}
    for _, descriptor in layout.references():
        repositories = list(_on_host(_homes(descriptor.annotations), target))
        if not repositories:
            continue
        with suppress(OutpostError):  # a name whose manifest cannot be read
            for digest in layout.closure(descriptor):
                found.setdefault(digest, repositories[0])
    return found


def _on_host(homes: Iterable[str], target: Reference) -> Iterable[str]:
    for home in homes:
        host, _, repository = home.partition("/")
        if host.lower() == target.host.lower() and repository not in ("", target.repository):
            yield repository


def _homes(annotations: Mapping[str, str]) -> list[str]:
    return annotations.get(HOMES, "")[:_MAX_CHARS].split()
