"""The invariants of a store at rest, checked by reading everything. Nothing is written.

    I1  oci-layout and index.json can be read
    I2  earlier models are intact, I5 an acknowledged one is there: what the caller says must be there, is
    I3  every digest that is listed verifies
    I4  nothing that is listed is missing
    I6  every blob's name is its hash
    I7  nothing is left aside, and every part has its state, every quarantined blob its reason

I8 (recovery twice is recovery once) and I9 (space comes back) compare two moments: `tree` is what they
compare.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import OutpostError
from appliance.store.blobs import Blobs
from appliance.store.digest import Digest, hex_of
from appliance.store.files import TEMPORARY, Files
from appliance.store.graph import Graph
from appliance.store.ingest import read_state
from appliance.store.names import Entry, entries_of, read_index
from appliance.store.opened import check_foreign
from appliance.store.places import Places, digest_in
from appliance.store.recovery import plain_files

_BLOCK_BYTES: Final = 1 << 20


def check(root: Path, *, expected: Iterable[tuple[str, Digest]] = ()) -> list[str]:
    """Violations, one sentence each, with the number of the invariant. `expected`: keys of references
    (`Reference.key`) and the manifest each must stand for.
    """
    places = Places(root)
    try:
        check_foreign(places)
        entries = entries_of(read_index(places.index))
    except OutpostError as error:
        return [f"I1 {error.message}"]
    sound, bad = _hash_all(places)
    return [
        *bad,
        *_expected(entries, expected),
        *(violation for entry in entries for violation in _listed(places, entry, sound)),
        *_leftovers(places),
    ]


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Every file below `root`: size and content hash. What changes by opening alone (`lock`) is in it too."""
    return {
        str(path.relative_to(root)): (path.lstat().st_size, _hash(path))
        for path in sorted(root.rglob("*"))
        if stat.S_ISREG(path.lstat().st_mode)
    }


def _hash_all(places: Places) -> tuple[dict[Digest, int], list[str]]:
    """Sizes of the sound blobs, and I6."""
    sound: dict[Digest, int] = {}
    bad = []
    for path in plain_files(places.blobs):
        digest = digest_in(path.name)
        if digest is None or not stat.S_ISREG(path.lstat().st_mode):
            bad.append(f"I6 blobs/sha256/{path.name} is no blob")
        elif (actual := _hash(path)) != path.name:
            bad.append(f"I6 blob {digest} hashes to sha256:{actual}")
        else:
            sound[digest] = path.lstat().st_size
    return sound, bad


def _expected(entries: tuple[Entry, ...], expected: Iterable[tuple[str, Digest]]) -> Iterator[str]:
    listed = {entry.reference.key: entry.descriptor.digest for entry in entries if entry.reference}
    for key, digest in expected:
        if key not in listed:
            yield f"I5 {key} is gone"
        elif listed[key] != digest:
            yield f"I2 {key} stands for {listed[key]}, not {digest}"


def _listed(places: Places, entry: Entry, sound: dict[Digest, int]) -> Iterator[str]:
    name = entry.name or "(no name)"
    blobs = Blobs(places, Files(), None, read_only=True)
    top = entry.descriptor
    try:
        below = Graph(blobs).closure(top)
    except OutpostError as error:
        yield f"{'I3' if places.blob(top.digest).exists() else 'I4'} {name}: {error.message}"
        return
    for digest, blob in below.items():
        if not places.blob(digest).exists():
            yield f"I4 {name}: {blobs.trouble(blob)}"
        elif digest not in sound:
            yield f"I3 {name}: blob {digest} does not verify"
        elif sound[digest] != blob.size:
            yield f"I3 {name}: blob {digest} has {sound[digest]} bytes, {blob.size} are listed"


def _leftovers(places: Places) -> Iterator[str]:
    for directory in (places.root, places.blobs, places.ingest, places.quarantine):
        for path in plain_files(directory):
            if path.name.endswith(TEMPORARY):
                yield f"I7 {path.relative_to(places.root)} is left over"
    for path in plain_files(places.ingest):
        digest = digest_in(path.stem)
        if path.name.endswith(TEMPORARY):
            continue
        if (
            digest is None
            or not places.part(digest).exists()
            or read_state(places.part_state(digest)) is None
        ):
            yield f"I7 ingest/{path.name} belongs to nothing that arrives"
    for path in plain_files(places.quarantine):
        digest = digest_in(path.name)
        if digest and not places.quarantine_reason(digest).exists():
            yield f"I7 quarantine/{hex_of(digest)} has no reason"


def _hash(path: Path) -> str:
    content = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while block := os.read(fd, _BLOCK_BYTES):
            content.update(block)
    finally:
        os.close(fd)
    return content.hexdigest()
