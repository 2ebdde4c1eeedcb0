"""What was cut off on its way in: parts in `ingest/` that nobody brings any further just now.

Each keeps its full length, so that the next try has its room. They go after a week (`gc.py`), or when
somebody asks for it; an error that tells of a full disk names what they hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.errors import InsufficientSpace, StoreFault
from appliance.store.gc_rules import BlobFile, file_of
from appliance.store.layout import Layout
from appliance.store.places import digest_in
from appliance.store.recovery import plain_files


def all_parts(layout: Layout) -> list[BlobFile]:
    """All of them, also what is arriving now."""
    named = [
        (digest, path)
        for path in plain_files(layout.places.ingest)
        if path.suffix == ".part" and (digest := digest_in(path.stem))
    ]
    return [file for digest, path in named if (file := file_of(digest, path))]


def cut_off(layout: Layout) -> list[BlobFile]:
    """Those that no work brings or waits for."""
    at_work = layout.locks.busy() | layout.holds.held()
    return [part for part in all_parts(layout) if part.digest not in at_work]


def drop(layout: Layout) -> list[BlobFile]:
    """Remove what is cut off; what somebody takes up meanwhile stays. Those that went, durably. Raises
    StoreFault.
    """
    gone = []
    for part in cut_off(layout):
        with layout.locks.alone_now(part.digest) as is_ours:
            # Who holds it from now on finds nothing of it, and begins anew.
            if not is_ours or part.digest in layout.holds.held():
                continue
            layout.files.unlink(
                layout.places.part_state(part.digest)
            )  # a part without one counts for nothing
            layout.files.unlink(part.path)
            gone.append(part)
    if gone:
        layout.files.fsync_dir(layout.places.ingest)
    return gone


@contextmanager
def named_where_full(layout: Layout) -> Iterator[None]:
    """An InsufficientSpace of this store tells what is cut off, since that can be freed."""
    try:
        yield
    except InsufficientSpace as full:
        held_bytes = 0
        if Path(full.fields["directory"]).is_relative_to(layout.root):
            with suppress(StoreFault):
                held_bytes = sum(part.freed_bytes for part in cut_off(layout))
        if not held_bytes:
            raise
        raise InsufficientSpace(**{**full.fields, "arrivals_bytes": held_bytes}) from full
