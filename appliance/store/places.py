"""Where everything of a store lies. Paths are built here and nowhere else, and only of parsed digests.

oci-layout              {"imageLayoutVersion": "1.0.0"}
index.json              the names: one descriptor each, annotated with the whole name
index.json.copy         the same names in a file of its own, for `rebuild.py`
blobs/sha256/<hex>      content, read-only, named by its hash
ingest/<hex>.part       what is arriving, at its full length from the start
ingest/<hex>.json       which ranges of it are durable
ingest/*.tmp            what recovery removes
quarantine/<hex>        what failed, and <hex>.json with the reason
verified.json           blobs known to be sound
scrub.json              how far the scrub has come
ballast                 room that is given up so that a model can be removed from a full disk
dirty                   there while a process has the store open
lock                    flock of that process
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from appliance.store.digest import Digest, hex_of

FOLDER: Final = "store"
"""The store's own name in a data directory."""
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Places:
    root: Path
    blobs: Path = field(init=False)

    def __post_init__(self) -> None:
        # Made once: a list of models asks for the paths of hundreds of blobs.
        object.__setattr__(self, "blobs", self.root / "blobs" / "sha256")

    @property
    def layout(self) -> Path:
        return self.root / "oci-layout"

    @property
    def index(self) -> Path:
        return self.root / "index.json"

    @property
    def index_copy(self) -> Path:
        return self.root / "index.json.copy"

    @property
    def ingest(self) -> Path:
        return self.root / "ingest"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def verified(self) -> Path:
        return self.root / "verified.json"

    @property
    def scrub(self) -> Path:
        return self.root / "scrub.json"

    @property
    def ballast(self) -> Path:
        return self.root / "ballast"

    @property
    def dirty(self) -> Path:
        return self.root / "dirty"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def blob(self, digest: Digest) -> Path:
        return _within(self.blobs, digest)

    def part(self, digest: Digest) -> Path:
        return self.ingest / f"{hex_of(digest)}.part"

    def part_state(self, digest: Digest) -> Path:
        return self.ingest / f"{hex_of(digest)}.json"

    def temporary(self, name: str) -> Path:
        return self.ingest / f"{name}.tmp"

    def quarantined(self, digest: Digest) -> Path:
        return self.quarantine / hex_of(digest)

    def quarantine_reason(self, digest: Digest) -> Path:
        return self.quarantine / f"{hex_of(digest)}.json"


@lru_cache(maxsize=4096)
def _within(blobs: Path, digest: Digest) -> Path:
    """A list of models asks for each of hundreds several times, and to build one takes longer than to look at
    the file.
    """
    return blobs / hex_of(digest)


def digest_in(name: str) -> Digest | None:
    """The digest that a file is named for; None where it is not named for one."""
    return Digest(f"sha256:{name}") if _HEX.fullmatch(name) else None
