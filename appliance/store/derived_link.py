"""The link from a name to what was derived from its model on this board, as an annotation of the name.

    "org.outpost.derived": "sha256:6b0f… 812"       digest and size of a manifest (`derived.py`)

It stands with the name, not with the content: a name that comes to stand for something else has none. It is
written last, so it leads to what is whole; and it never comes from outside nor goes there (`homes.py`).
"""

from __future__ import annotations

from typing import Final

from appliance.errors import InvalidReference
from appliance.store.descriptor import Descriptor
from appliance.store.digest import parse_digest
from appliance.store.media_types import DERIVED, OCI_MANIFEST

DERIVED_LINK: Final = "org.outpost.derived"
_MAX_MANIFEST_BYTES: Final = 1 << 20


def link_to(manifest: Descriptor) -> str:
    return f"{manifest.digest} {manifest.size}"


def linked(top: Descriptor) -> Descriptor | None:
    """None: there is none, or what stands there leads nowhere."""
    digest, _, size = top.annotations.get(DERIVED_LINK, "").partition(" ")
    if not (size.isascii() and size.isdigit() and len(size) < 12 and 0 < int(size) <= _MAX_MANIFEST_BYTES):
        return None
    try:
        return Descriptor(
            media_type=OCI_MANIFEST, digest=parse_digest(digest), size=int(size), artifact_type=DERIVED
        )
    except InvalidReference:
        return None
