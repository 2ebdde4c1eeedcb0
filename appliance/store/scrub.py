"""Looking after what is stored: every blob is read again from the disk, now and then, and hashed.

`Scrubber` goes round all blobs in small steps, in the order of their names, so that the next start knows from
one name where to go on (`scrub.json`); `verify` reads all of one model, or of all, at once. What is not what
its name says, or cannot be read, is moved to quarantine, and the models that need it are broken until it
arrives again. Both go on behind it.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.errors import OutpostError, ResourceError, StoreFault
from appliance.store.content import Progress, Report, unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest, hex_of
from appliance.store.examine import Examination
from appliance.store.files import read_small
from appliance.store.layout import Layout
from appliance.store.places import digest_in
from appliance.store.recovery import blob_digests
from appliance.store.reference import Reference

_VERIFY_STEP_BYTES: Final = 16 << 20
_MAX_CURSOR_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A blob that is not what its name says, and the names that need it."""

    digest: Digest
    reason: str
    models: tuple[Reference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    read_bytes: int
    blobs: int
    """Read to their end in this step."""
    broken: tuple[Broken, ...]
    round_finished: bool
    """All blobs of the store have been read since the round began."""


class _Cursor(msgspec.Struct):
    after: str
    """Hex of the last blob read to its end; empty at the start of a round."""


@dataclass(slots=True)
class _Step:
    """What one step has done so far."""

    budget_bytes: int
    read_bytes: int = 0
    blobs: int = 0
    broken: list[Broken] = field(default_factory=list)
    round_finished: bool = False


class Scrubber:
    """Owned by one thread, that of the store's maintenance."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._after = self._saved = _read_cursor(layout)
        self._current: Examination | None = None

    def step(self, budget_bytes: int) -> ScrubReport:
        """Read up to so many bytes. Raises StoreFault, InsufficientSpace for what the machine lacks, unless
        there is something broken to tell: then the next step meets it again.
        """
        done = _Step(budget_bytes)
        try:
            self._read(done)
            self._save(finished=done.round_finished)
        except ResourceError:
            if not done.broken:
                raise
        return ScrubReport(
            read_bytes=done.read_bytes,
            blobs=done.blobs,
            broken=tuple(done.broken),
            round_finished=done.round_finished,
        )

    def close(self) -> None:
        """A blob read in part is read anew by the next scrubber."""
        if self._current:
            self._current.close()
            self._current = None

    def _read(self, done: _Step) -> None:
        while done.read_bytes < done.budget_bytes:
            examination = self._current or self._open_next()
            if examination is None:
                done.round_finished = True
                return
            got = examination.step(done.budget_bytes - done.read_bytes)
            done.read_bytes += got
            if not got:
                done.blobs += 1
                self._pass(examination)
                if found := judge(self._layout, examination):
                    done.broken.append(found)

    def _open_next(self) -> Examination | None:
        digests = blob_digests(self._layout.places)
        start = bisect_right(digests, f"sha256:{self._after}") if self._after else 0
        for digest in digests[start:]:
            if _is_there(self._layout, digest):
                path = self._layout.places.blob(digest)
                self._current = Examination(self._layout.files, path, digest, from_disk=True)
                return self._current
        return None

    def _pass(self, examination: Examination) -> None:
        self._after = hex_of(examination.digest)
        examination.close()
        self._current = None

    def _save(self, *, finished: bool) -> None:
        if finished:
            self._after = ""
        self._layout.settle()
        if finished or self._after != self._saved:  # the end of a round is remembered by the file's time
            content = msgspec.json.encode(_Cursor(after=self._after))
            self._layout.files.write_aside(self._layout.places.scrub, content)
            self._saved = self._after


def verify(layout: Layout, reference: Reference | None, report: Report = unreported) -> tuple[Broken, ...]:
    """Read all of a model, or all that is stored, from the disk. What was broken before is told too. Raises
    ModelNotFound for a name that is not there, StoreFault for what the machine lacks.
    """
    wanted = _of_model(layout, reference) if reference else _of_all(layout)
    total = sum(blob.size for blob in wanted.values())
    done = 0
    broken = []
    for digest, blob in wanted.items():
        status = f"verifying {hex_of(digest)[:12]}"
        report(Progress(status=status, digest=digest, total_bytes=total, completed_bytes=done))
        if found := _verify_blob(layout, blob, report, (done, total)):
            broken.append(found)
        done += blob.size
    layout.settle()
    return tuple(broken)


def judge(layout: Layout, examination: Examination) -> Broken | None:
    """After its end: note a sound blob, quarantine another. A file that changed meanwhile is left for the
    next time.
    """
    digest = examination.digest
    with layout.locks.alone(digest):
        if not examination.is_current():
            return None
        if examination.verdict() is None:
            layout.blobs.verified.record(digest, examination.found)
            return None
        needing = _needing(layout).get(digest, [])
        reason = examination.verdict(needing[0][0].size if needing else None) or ""
        layout.blobs.quarantine(digest, reason)
    return Broken(digest=digest, reason=reason, models=tuple(model for _, model in needing))


def _verify_blob(
    layout: Layout, blob: Descriptor, report: Report, progress: tuple[int, int]
) -> Broken | None:
    done, total = progress
    if not _is_there(layout, blob.digest):
        models = tuple(model for _, model in _needing(layout).get(blob.digest, ()))
        reason = layout.blobs.trouble(blob) or "it is missing"
        return Broken(digest=blob.digest, reason=reason, models=models)
    path = layout.places.blob(blob.digest)
    with Examination(layout.files, path, blob.digest, from_disk=True) as examination:
        while got := examination.step(_VERIFY_STEP_BYTES):
            done += got
            status = f"verifying {hex_of(blob.digest)[:12]}"
            report(Progress(status=status, digest=blob.digest, total_bytes=total, completed_bytes=done))
        return judge(layout, examination)


def _of_model(layout: Layout, reference: Reference) -> dict[Digest, Descriptor]:
    return _below(layout, layout.find(reference))


def _of_all(layout: Layout) -> dict[Digest, Descriptor]:
    """What names lead to, and what else lies there."""
    wanted: dict[Digest, Descriptor] = {}
    for entry in layout.entries():
        wanted.update(_below(layout, entry.descriptor))
    for digest in blob_digests(layout.places):
        if digest not in wanted and _is_there(layout, digest):
            wanted[digest] = Descriptor(media_type="", digest=digest, size=_size(layout, digest))
    return wanted


def _is_there(layout: Layout, digest: Digest) -> bool:
    """Also one that the disk does not let us look at: it is there to be examined, and lost."""
    try:
        return layout.blobs.status(digest) is not None
    except StoreFault:
        return True


def _size(layout: Layout, digest: Digest) -> int:
    try:
        found = layout.blobs.status(digest)
    except StoreFault:
        return 0
    return found.st_size if found else 0


def _below(layout: Layout, top: Descriptor) -> dict[Digest, Descriptor]:
    try:
        return layout.closure(top)
    except OutpostError:
        return {top.digest: top}


def _needing(layout: Layout) -> dict[Digest, list[tuple[Descriptor, Reference]]]:
    """Who needs what, as far as the index and manifests can be read."""
    needing: dict[Digest, list[tuple[Descriptor, Reference]]] = {}
    with suppress(OutpostError):
        for reference, top in layout.references():
            for digest, blob in _below(layout, top).items():
                needing.setdefault(digest, []).append((blob, reference))
    return needing


def _read_cursor(layout: Layout) -> str:
    content = read_small(layout.places.scrub, _MAX_CURSOR_BYTES)
    try:
        after = msgspec.json.decode(content, type=_Cursor).after if content else ""
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return after if digest_in(after) else ""
