"""What nobody needs goes: blobs no name leads to, leftovers of arrivals nobody came back for, old quarantine.

A blob stays when
1. a name leads to it, through an index or a manifest,
2. it is held (`Layout.hold`, `expect`) or just arriving or being hashed,
3. this process took it, or promised that it is there, within the last hour,
4. it came within the last hour, by the clock of its file, whoever brought it: a copy may stand between its
   blobs and its name; a name that let go of it in this process says that it is not so,
5. a runner has it open: a model that was removed answers to its end, and may be read again.

While a manifest that a name leads to cannot be read, what it needs is not known: then no blob goes at all,
and the report says why.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import OutpostError
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.places import digest_in
from appliance.store.recovery import blob_digests, plain_files

PROTECTED_S: Final = 3600.0
LEFTOVER_S: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """`dry_run`: what would have gone."""

    dry_run: bool
    freed_bytes: int
    blobs: tuple[Digest, ...]
    leftovers: tuple[Digest, ...]
    """Of arrivals and of quarantine."""
    withheld: tuple[str, ...]
    """Names whose manifest cannot be read, each with the reason; no blob went."""


@dataclass(frozen=True, slots=True)
class _File:
    digest: Digest
    path: Path
    freed_bytes: int


def collect(
    layout: Layout, *, dry_run: bool = False, now: float | None = None, in_use: Collection[str] = ()
) -> GcReport:
    """Runs in the caller's thread, milliseconds per thousand blobs; names wait meanwhile. `now`: the wall
    clock. `in_use`: paths of files that runners have open.
    """
    clock = time.time() if now is None else now
    with layout.index_lock:
        reachable, withheld = _reachable(layout)
        blobs = [] if withheld else _unneeded(layout, reachable, clock, in_use)
        leftovers = [*_old_parts(layout, clock), *_old_quarantine(layout, reachable, clock)]
        if not dry_run:
            blobs = _remove_blobs(layout, blobs)
            _remove(
                layout,
                layout.places.ingest,
                [file for file in leftovers if _is_in(file, layout.places.ingest)],
            )
            quarantined = [file for file in leftovers if _is_in(file, layout.places.quarantine)]
            _remove(layout, layout.places.quarantine, quarantined)
    if not dry_run:
        layout.make_ready()
        layout.settle()
    return GcReport(
        dry_run=dry_run,
        freed_bytes=sum(file.freed_bytes for file in (*blobs, *leftovers)),
        blobs=tuple(file.digest for file in blobs),
        leftovers=tuple(dict.fromkeys(file.digest for file in leftovers)),
        withheld=tuple(withheld),
    )


def _reachable(layout: Layout) -> tuple[frozenset[Digest], list[str]]:
    found: set[Digest] = set()
    withheld = []
    for entry in layout.entries():
        found.add(entry.descriptor.digest)
        try:
            found.update(layout.closure(entry.descriptor))
        except OutpostError as error:
            withheld.append(f"{entry.name or entry.descriptor.digest}: {error.message}")
    return frozenset(found), withheld


def _unneeded(
    layout: Layout, reachable: frozenset[Digest], clock: float, in_use: Collection[str]
) -> list[_File]:
    _forget_old_touches(layout)
    unneeded = []
    for digest in blob_digests(layout.places):
        if digest in reachable or not _is_free(layout, digest):
            continue
        file = _file(digest, layout.places.blob(digest))
        if file and str(file.path) in in_use:
            continue
        if file and (digest in layout.released or _age_s(file.path, clock) >= PROTECTED_S):
            unneeded.append(file)
    return unneeded


def _forget_old_touches(layout: Layout) -> None:
    hour_ago = layout.monotonic() - PROTECTED_S
    with layout.touch_lock:
        for digest in [digest for digest, at in layout.touched.items() if at <= hour_ago]:
            del layout.touched[digest]


def _is_free(layout: Layout, digest: Digest) -> bool:
    """Rules 2 and 3."""
    return not (digest in layout.touched or digest in layout.holds.held() or digest in layout.locks.busy())


def _old_parts(layout: Layout, clock: float) -> list[_File]:
    """Parts that were not resumed for a week."""
    kept = layout.locks.busy() | layout.holds.held()
    return list(_old(layout.places.ingest, kept, clock))


def _old_quarantine(layout: Layout, reachable: frozenset[Digest], clock: float) -> list[_File]:
    """The bytes go after a week; the reason stays as long as a name needs the blob."""
    return [
        file
        for file in _old(layout.places.quarantine, layout.locks.busy(), clock)
        if file.path.suffix != ".json" or file.digest not in reachable
    ]


def _old(directory: Path, kept: frozenset[Digest], clock: float) -> Iterable[_File]:
    for path in plain_files(directory):
        digest = digest_in(path.stem)
        if digest is None or digest in kept or _age_s(path, clock) < LEFTOVER_S:
            continue
        if file := _file(digest, path):
            yield file


def _remove_blobs(layout: Layout, files: list[_File]) -> list[_File]:
    """Those that went. One at a time, so that no copy is told of a blob that goes a moment later."""
    gone = []
    for file in files:
        with layout.touch_lock:
            if _is_free(layout, file.digest):
                layout.files.unlink(file.path)
                layout.released.discard(file.digest)
                gone.append(file)
        layout.blobs.verified.forget(file.digest)
    if gone:
        layout.files.fsync_dir(layout.places.blobs)
    return gone


def _remove(layout: Layout, directory: Path, files: list[_File]) -> None:
    for file in files:
        layout.files.unlink(file.path)
    if files:
        layout.files.fsync_dir(directory)


def _file(digest: Digest, path: Path) -> _File | None:
    """A file that has another name elsewhere (a model adopted in place) gives nothing back."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return _File(digest, path, found.st_blocks * 512 if found.st_nlink == 1 else 0)


def _age_s(path: Path, clock: float) -> float:
    """Since it came to its name: ctime, which a link and a rename set and nobody can forge."""
    try:
        return clock - path.lstat().st_ctime
    except OSError:
        return 0.0


def _is_in(file: _File, directory: Path) -> bool:
    return file.path.parent == directory
