"""Opening and closing a layout: the lock, recovery, and the marker that tells an unclean stop."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import ManifestInvalid
from appliance.store.files import Files, read_small, status_of
from appliance.store.lock import StoreLock
from appliance.store.outside import status_at
from appliance.store.places import Places
from appliance.store.recovery import recover, settle_quarantine
from appliance.store.space import without_ballast
from appliance.store.verified import Verified

_MAX_LAYOUT_BYTES: Final = 4_096


class _OciLayout(msgspec.Struct):
    imageLayoutVersion: str  # noqa: N815 - as OCI writes it


def open_store(
    places: Places,
    files: Files,
    monotonic: Callable[[], float] = time.monotonic,
    *,
    lenient: bool = False,
) -> tuple[StoreLock, Verified]:
    """Raises StoreInUse, StoreFault, InsufficientSpace."""
    _make_root(places.root, files)
    with ExitStack() as undo:
        lock = StoreLock(places, files)
        undo.callback(lock.close)
        without_ballast(places, files, lambda: recover(places, files, lenient=lenient))
        verified = Verified(places, clean=status_of(places.dirty) is None, monotonic=monotonic)
        settle_quarantine(places, files, verified)
        without_ballast(places, files, lambda: files.write_aside(places.dirty, b""))
        undo.pop_all()
    return lock, verified


def close_store(places: Places, files: Files, verified: Verified, lock: StoreLock, *, portable: bool) -> None:
    """What is known first, then the marker: a crash between costs hashing, nothing else."""
    try:
        if portable:
            for path in (places.verified, places.scrub, places.index_copy, places.ballast):
                files.unlink(path)
            for directory in (places.ingest, places.quarantine):
                files.rmdir(directory)
        else:
            verified.settle(files, closing=True)
        files.unlink(places.dirty)
        if portable:
            files.unlink(places.lock)
        files.fsync_dir(places.root)
    finally:
        lock.close()


def check_foreign(places: Places) -> None:
    """A layout that others wrote, before anything of it is read; below its root no link is followed. Raises
    ManifestInvalid, InvalidRequest where it may not be looked at, StoreFault.
    """
    for directory in (places.root, places.blobs.parent, places.blobs):
        found = status_at(directory) if directory == places.root else status_of(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise ManifestInvalid(
                what=str(places.root), reason=f"{directory.name}/ is no directory: no OCI layout"
            )
    content = read_small(places.layout, _MAX_LAYOUT_BYTES)
    if content is None:
        raise ManifestInvalid(what=str(places.root), reason="it has no file oci-layout")
    check_version(content, what=str(places.root))


def check_version(content: bytes, *, what: str) -> None:
    """The file `oci-layout`. Raises ManifestInvalid."""
    try:
        layout = msgspec.json.decode(content, type=_OciLayout)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestInvalid(what=what, reason=f"its file oci-layout cannot be read: {error}") from error
    if not layout.imageLayoutVersion.startswith("1."):
        version = layout.imageLayoutVersion[:20]
        raise ManifestInvalid(what=what, reason=f"layout version {version!r} is not known")


def _make_root(root: Path, files: Files) -> None:
    missing = [path for path in (root, *root.parents) if status_of(path) is None]
    for path in reversed(missing):
        files.mkdir(path)
        files.fsync_dir(path.parent)
