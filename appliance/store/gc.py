"""What nobody needs goes: blobs no name leads to, leftovers of arrivals nobody came back for, old quarantine.

A blob that a name leads to, through an index or a manifest, stays; of the others `gc_rules.py` tells which
stay for now, and why. The report says what stayed, so that nobody wonders where the room is.

While a manifest that a name leads to cannot be read, what it needs is not known: then no blob goes at all,
and the report says why.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import OutpostError
from appliance.store import arrivals as parts
from appliance.store.digest import Digest
from appliance.store.gc_rules import BlobFile, GraceRules, age_s, file_of
from appliance.store.kept import PROTECTED_S, Kept
from appliance.store.layout import Layout
from appliance.store.listing_rows import reason_of
from appliance.store.names import Entry
from appliance.store.places import digest_in
from appliance.store.recovery import blob_digests, plain_files

LEFTOVER_S: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """`dry_run`: what would have gone."""

    dry_run: bool
    freed_bytes: int
    blobs: tuple[Digest, ...]
    leftovers: tuple[Digest, ...]
    """Of arrivals and of quarantine."""
    young: Kept
    """What came within the grace."""
    at_work: Kept
    """What is in use or arriving."""
    arrivals: Kept
    """Of what went: what was cut off on its way in, less than a week ago."""
    cut_off: Kept
    """What was cut off on its way in and waits for the next try."""
    withheld: tuple[str, ...]
    """Names whose manifest cannot be read, each with the reason; no blob went."""


def collect(
    layout: Layout,
    *,
    dry_run: bool = False,
    now: float | None = None,
    in_use: Collection[str] = (),
    grace_s: float = PROTECTED_S,
    at_work_since_s: float | None = None,
    arrivals: bool = False,
) -> GcReport:
    """Runs in the caller's thread, milliseconds per thousand blobs; names wait meanwhile. `now`: the wall
    clock. `in_use`: paths of files that runners have open. `at_work_since_s`: on the layout's clock, since
    when verbs may be under way; None: none is. `arrivals`: what was cut off on its way in goes at once.
    """
    began_s = layout.monotonic()
    rules = GraceRules(
        layout=layout,
        grace_s=grace_s,
        began_s=began_s,
        at_work_since_s=began_s if at_work_since_s is None else at_work_since_s,
        clock_s=time.time() if now is None else now,
        in_use=in_use,
    )
    with layout.index_lock:
        reachable, unread = _reachable(layout)
        _forget_old_touches(layout, rules)
        going, young, at_work = _sorted_out(layout, reachable, rules)
        blobs = [] if unread else going
        leftovers = [*_old_parts(layout, rules.clock_s), *_old_quarantine(layout, reachable, rules.clock_s)]
        if not dry_run:
            blobs, busy = _remove_blobs(layout, blobs, rules)
            at_work += busy
            leftovers = _remove_leftovers(layout, leftovers)
        leaving = {file.path for file in leftovers}
        dropped = _dropped(layout, leaving, dry_run=dry_run) if arrivals else []
        arriving, cut_off = _parts(layout, leaving | {file.path for file in dropped})
        at_work += arriving
    if not dry_run:
        layout.make_ready()
        layout.settle()
    return GcReport(
        dry_run=dry_run,
        freed_bytes=sum(file.freed_bytes for file in (*blobs, *leftovers, *dropped)),
        blobs=tuple(file.digest for file in blobs),
        leftovers=tuple(dict.fromkeys(file.digest for file in (*leftovers, *dropped))),
        young=_kept([file for file, _ in young], [left_s for _, left_s in young]),
        at_work=_kept(at_work),
        arrivals=_kept(dropped),
        cut_off=_kept(cut_off),
        withheld=tuple(unread),
    )


def withheld(layout: Layout) -> tuple[str, ...]:
    """Names whose manifest cannot be read, each with the reason: while there are any, no blob goes."""
    return tuple(_reachable(layout)[1])


def _reachable(layout: Layout) -> tuple[frozenset[Digest], list[str]]:
    found: set[Digest] = set()
    unread = []
    for entry in layout.entries():
        found.add(entry.descriptor.digest)
        try:
            found.update(layout.closure(entry.descriptor))
        except OutpostError as error:
            unread.append(f"{_named(entry)}: {reason_of(error)}")
    return frozenset(found), unread


def _named(entry: Entry) -> str:
    if entry.reference is not None:
        return entry.reference.display
    return entry.name or str(entry.descriptor.digest)


def _forget_old_touches(layout: Layout, rules: GraceRules) -> None:
    """Those that no grace covers: a shorter one than the usual forgets nothing."""
    until_s = min(rules.began_s - PROTECTED_S, rules.at_work_since_s)
    layout.touches.forget_until(until_s)


def _sorted_out(
    layout: Layout, reachable: frozenset[Digest], rules: GraceRules
) -> tuple[list[BlobFile], list[tuple[BlobFile, float]], list[BlobFile]]:
    """What no name leads to: what goes, what is too young (and for how long), what is at work."""
    going, young, at_work = [], [], []
    for digest in blob_digests(layout.places):
        file = None if digest in reachable else file_of(digest, layout.places.blob(digest))
        if file is None:
            continue
        if rules.is_at_work(file):
            at_work.append(file)
        elif left_s := rules.grace_left_s(file):
            young.append((file, left_s))
        else:
            going.append(file)
    return going, young, at_work


def _old_parts(layout: Layout, clock_s: float) -> list[BlobFile]:
    """Parts that were not resumed for a week."""
    kept = layout.locks.busy() | layout.holds.held()
    return list(_old(layout, layout.places.ingest, kept, clock_s))


def _old_quarantine(layout: Layout, reachable: frozenset[Digest], clock_s: float) -> list[BlobFile]:
    """The bytes go after a week; the reason stays as long as a name needs the blob."""
    return [
        file
        for file in _old(layout, layout.places.quarantine, layout.locks.busy(), clock_s)
        if file.path.suffix != ".json" or file.digest not in reachable
    ]


def _old(layout: Layout, directory: Path, kept: frozenset[Digest], clock_s: float) -> Iterable[BlobFile]:
    for path in plain_files(directory):
        digest = digest_in(path.stem)
        if digest is None or digest in kept or age_s(layout, path, clock_s) < LEFTOVER_S:
            continue
        if file := file_of(digest, path):
            yield file


def _remove_blobs(
    layout: Layout, files: list[BlobFile], rules: GraceRules
) -> tuple[list[BlobFile], list[BlobFile]]:
    """Those that went, and those that somebody has asked for since. One at a time, so that no copy is told
    of a blob that goes a moment later.
    """
    gone, busy = [], []
    for file in files:
        with layout.touches.lock:
            if rules.is_at_work(file):
                busy.append(file)
                continue
            layout.files.unlink(file.path)
            layout.touches.gone(file.digest)
            gone.append(file)
        layout.blobs.verified.forget(file.digest)
    if gone:
        layout.files.fsync_dir(layout.places.blobs)
    return gone, busy


def _remove_leftovers(layout: Layout, files: list[BlobFile]) -> list[BlobFile]:
    """Those that went. What somebody has taken up since it was found old stays: an arrival goes on."""
    gone = []
    for file in files:
        with layout.locks.alone_now(file.digest) as is_ours:
            if is_ours and file.digest not in layout.holds.held():
                layout.files.unlink(file.path)
                gone.append(file)
    for directory in {file.path.parent for file in gone}:
        layout.files.fsync_dir(directory)
    return gone


def _dropped(layout: Layout, leaving: set[Path], *, dry_run: bool) -> list[BlobFile]:
    """What was cut off and is not `leaving` anyway."""
    found = parts.cut_off(layout) if dry_run else parts.drop(layout)
    return [file for file in found if file.path not in leaving]


def _parts(layout: Layout, leaving: set[Path]) -> tuple[list[BlobFile], list[BlobFile]]:
    """Of what stays: what is arriving, and what was cut off."""
    left = [file for file in parts.all_parts(layout) if file.path not in leaving]
    cut_off = {file.path for file in parts.cut_off(layout)}
    return (
        [file for file in left if file.path not in cut_off],
        [file for file in left if file.path in cut_off],
    )


def _kept(files: list[BlobFile], left_s: Sequence[float] = ()) -> Kept:
    return Kept(
        blobs=len(files),
        size_bytes=sum(file.freed_bytes for file in files),
        first_in_s=min(left_s, default=None),
        last_in_s=max(left_s, default=None),
    )
