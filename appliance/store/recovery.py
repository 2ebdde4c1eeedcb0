"""What a store does when it is opened: finish or undo what a crash has interrupted. Twice is the same as
once.

1. Directories, `oci-layout` and an empty index are made where the store is new. The index comes last, so a
   store without one that holds blobs is not new but damaged, and is refused: nothing must be lost by
   guessing.
2. Files aside (`*.tmp`) go: they never became what they should.
3. A part without its state, a state without its part, and both where the blob is there already, go.
4. A blob that has a reason in quarantine but lies among the blobs was being moved, or has arrived anew: it is
   hashed at its next use, whatever is known of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from appliance.errors import StoreFault
from appliance.store.digest import Digest
from appliance.store.files import TEMPORARY, Files
from appliance.store.ingest import read_state
from appliance.store.names import render
from appliance.store.places import Places, digest_in

OCI_LAYOUT: Final = b'{"imageLayoutVersion": "1.0.0"}'


def recover(places: Places, files: Files) -> frozenset[Digest]:
    """The lock is held. Returns the blobs of rule 4. Raises StoreFault, InsufficientSpace."""
    _make(places, files)
    for directory in (places.root, places.ingest, places.quarantine):
        _remove(files, directory, (path for path in plain_files(directory) if path.name.endswith(TEMPORARY)))
    _remove(files, places.ingest, list(_stale_ingest(places)))
    return _doubtful(places, files)


def _make(places: Places, files: Files) -> None:
    if not places.index.exists() and places.blobs.exists() and any(plain_files(places.blobs)):
        reason = "index.json is missing, but there are blobs; `recover_index` rebuilds it"
        raise StoreFault(path=str(places.root), reason=reason)
    # Not short-circuited: every directory is made.
    made = [
        files.mkdir(path) for path in (places.blobs.parent, places.blobs, places.ingest, places.quarantine)
    ]
    if made[1]:
        files.fsync_dir(places.blobs.parent)
    if any(made):
        files.fsync_dir(places.root)
    if not places.layout.exists():
        files.write_aside(places.layout, OCI_LAYOUT)
    if not places.index.exists():
        files.write_aside(places.index, render([]))


def _stale_ingest(places: Places) -> Iterable[Path]:
    for path in plain_files(places.ingest):
        digest = digest_in(path.stem)
        if path.suffix not in {".part", ".json"} or digest is None:
            continue
        part, state = places.part(digest), places.part_state(digest)
        if places.blob(digest).exists() or not part.exists() or read_state(state) is None:
            yield path


def _doubtful(places: Places, files: Files) -> frozenset[Digest]:
    doubtful = set()
    finished = []
    for path in plain_files(places.quarantine):
        digest = digest_in(path.stem)
        if digest is None or not places.blob(digest).exists():
            continue
        doubtful.add(digest)
        finished.append(path)
    # The blob itself before its reason: never one without.
    _remove(files, places.quarantine, sorted(finished, key=lambda path: path.suffix == ".json"))
    return frozenset(doubtful)


def _remove(files: Files, directory: Path, paths: Iterable[Path]) -> None:
    removed = [files.unlink(path) for path in paths]
    if any(removed):
        files.fsync_dir(directory)


def plain_files(directory: Path) -> list[Path]:
    """Sorted; empty when there is no such directory."""
    try:
        return sorted(
            Path(entry.path) for entry in os.scandir(directory) if not entry.is_dir(follow_symlinks=False)
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreFault(path=str(directory), reason=error.strerror or str(error)) from error


def blob_digests(places: Places) -> list[Digest]:
    """Everything among the blobs that is named like one."""
    return [digest for path in plain_files(places.blobs) if (digest := digest_in(path.name))]
