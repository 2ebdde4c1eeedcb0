"""What a store does when it is opened: finish or undo what a crash has interrupted. Twice is the same as
once.

1. Directories, `oci-layout` and an empty index are made where the store is new. The index comes last, so a
   store without one that holds blobs is not new but damaged: nothing must be lost by guessing, so it is
   refused, or (`lenient`) left without an index until it is asked to build it again (`rebuild.py`). The copy
   of a sound index is made to be one.
2. Files aside (`*.tmp`) go: they never became what they should.
3. A part without its state, a state without its part, and both where the blob is there already, go. A blob of
   another size is not the one that arrives: it is being repaired, and the repair goes on.
4. A blob that has a reason in quarantine but lies among the blobs was being moved, or has arrived anew: it is
   hashed at its next use, whatever is known of it, and what lies in quarantine for it goes.
5. A blob in quarantine without a reason was being removed, and goes: the reason is there before the blob.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import StoreFault
from appliance.store.digest import Digest
from appliance.store.files import TEMPORARY, Files, status_of
from appliance.store.names import REBUILD, render, renew_copy
from appliance.store.places import Places, digest_in
from appliance.store.verified import Verified

OCI_LAYOUT: Final = b'{"imageLayoutVersion": "1.0.0"}'


def recover(places: Places, files: Files, *, lenient: bool = False) -> None:
    """Rules 1 to 3. The lock is held. Raises StoreFault, InsufficientSpace."""
    _make(places, files, lenient=lenient)
    for directory in (places.root, places.ingest, places.quarantine):
        _remove(files, directory, (path for path in plain_files(directory) if path.name.endswith(TEMPORARY)))
    _remove(files, places.ingest, list(_stale_ingest(places)))
    renew_copy(places, files)


def settle_quarantine(places: Places, files: Files, verified: Verified) -> None:
    """Rules 4 and 5. What is doubted is durably forgotten before the reason to doubt it goes."""
    left = list(_settled_quarantine(places))
    for path in left:
        if digest := digest_in(path.stem):
            verified.forget(digest)
    if left:
        verified.save(files)
        _remove(files, places.quarantine, left)


def _make(places: Places, files: Files, *, lenient: bool) -> None:
    has_index = status_of(places.index) is not None
    is_damaged = not has_index and bool(plain_files(places.blobs))
    if is_damaged and not lenient:
        raise StoreFault(
            path=str(places.root), reason=f"index.json is missing, but there are blobs; {REBUILD}"
        )
    below = (places.blobs.parent, places.blobs, places.ingest, places.quarantine)
    made = [path.parent for path in below if files.mkdir(path)]
    for directory in reversed(list(dict.fromkeys(made))):
        files.fsync_dir(directory)
    if status_of(places.layout) is None:
        files.write_aside(places.layout, OCI_LAYOUT)
    if not has_index and not is_damaged:
        files.write_aside(places.index, render([]))


def _stale_ingest(places: Places) -> Iterator[Path]:
    for path in plain_files(places.ingest):
        digest = digest_in(path.stem)
        if path.suffix not in {".part", ".json"} or digest is None:
            continue
        if _is_stale(places, digest):
            yield path


def _is_stale(places: Places, digest: Digest) -> bool:
    """Rule 3."""
    from appliance.store.ingest import read_state  # noqa: PLC0415 - seldom is anything arriving

    state = read_state(places.part_state(digest))
    if state is None or not _is_there(places.part(digest)):
        return True
    return _is_whole(places.blob(digest), state.size)


def _settled_quarantine(places: Places) -> Iterator[Path]:
    for path in plain_files(places.quarantine):
        digest = digest_in(path.stem)
        if digest and (_is_there(places.blob(digest)) or not _is_there(places.quarantine_reason(digest))):
            yield path


def _is_whole(path: Path, size: int) -> bool:
    """Also where the disk does not let us look."""
    try:
        found = status_of(path)
    except StoreFault:
        return True
    return found is not None and found.st_size == size


def _is_there(path: Path) -> bool:
    """Also where the disk does not let us look: one bad inode must not keep a store closed."""
    try:
        return status_of(path) is not None
    except StoreFault:
        return True


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
