"""The blobs of a layout on disk: there, sound, missing or quarantined.

A blob is sound when `verified` knows the very file. Any other is hashed before it is used, and moved to
`quarantine/` with its reason when it is not what its name says. It is repaired by arriving again.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import (
    DigestMismatch,
    ManifestInvalid,
    ModelBroken,
    ModelNotFound,
    ResourceError,
    ShuttingDown,
    StoreFault,
)
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest, digest_of
from appliance.store.examine import Examination
from appliance.store.files import Files, iter_bytes, read_small, status_of
from appliance.store.places import Places
from appliance.store.verified import Verified

MAX_SMALL_BYTES: Final = 16 << 20
"""What `fetch` reads into memory: manifests, configs, templates, licences."""

_MAX_REASON_BYTES: Final = 64 << 10
_MAX_REASON_CHARS: Final = 4_000


class _Reason(msgspec.Struct):
    digest: str
    reason: str


class Blobs:
    """Any thread. Two that hash or move one blob at once are kept apart by `Layout.locks`."""

    def __init__(self, places: Places, files: Files, verified: Verified | None, *, read_only: bool) -> None:
        """`verified` None: nothing is known yet, and what is found out is not kept."""
        self._places = places
        self._files = files
        self.verified = verified or Verified()
        self._read_only = read_only
        self._halted = threading.Event()
        self._unmoved: dict[Digest, str] = {}
        """Not sound, and the disk takes neither a note nor a move: why."""

    def halt(self) -> None:
        """What is being hashed, and what would have to be from now on, ends with ShuttingDown, and nothing is
        held against it. Any thread.
        """
        self._halted.set()

    def status(self, digest: Digest) -> os.stat_result | None:
        """None: not there, or no plain file."""
        found = status_of(self._places.blob(digest))
        return found if found and stat.S_ISREG(found.st_mode) else None

    def trouble(self, descriptor: Descriptor) -> str | None:
        """What is known to be wrong with it, without reading it."""
        if reason := self._unmoved.get(descriptor.digest):
            return reason
        try:
            found = self.status(descriptor.digest)
        except StoreFault as fault:
            return _unreadable(descriptor.digest, fault)
        if found is None:
            return self.quarantine_reason(descriptor.digest) or f"blob {descriptor.digest} is missing"
        if found.st_size != descriptor.size:
            return f"blob {descriptor.digest} has {found.st_size} of {descriptor.size} bytes"
        return None

    def is_sound(self, descriptor: Descriptor) -> bool:
        """There, of the right size, and known to be what its name says, or found so now by hashing."""
        if self.trouble(descriptor) is not None:
            return False
        found = self.status(descriptor.digest)
        is_known = found is not None and self.verified.knows(descriptor.digest, found)
        return is_known or self._examine(descriptor.digest) is None

    def path(self, digest: Digest, *, spare_unread: bool = False) -> Path:
        """Of a sound blob. `spare_unread`: nothing is held against one that cannot be read, it is a
        StoreFault. Raises ModelBroken, ModelNotFound.
        """
        found = self.status(digest)
        if found is None:
            raise self._absent(digest)
        is_known = self.verified.knows(digest, found)
        if not is_known and (reason := self._examine(digest, spare_unread=spare_unread)):
            raise ModelBroken(model=digest, reason=reason)
        return self._places.blob(digest)

    def read(self, descriptor: Descriptor, *, spare_unread: bool = False) -> bytes:
        """A small blob as a whole, hashed each time. Raises ManifestInvalid, ModelBroken, ModelNotFound."""
        if descriptor.size > MAX_SMALL_BYTES:
            reason = f"{descriptor.size} bytes are more than is read as a whole ({MAX_SMALL_BYTES})"
            raise ManifestInvalid(what=descriptor.digest, reason=reason)
        if self.status(descriptor.digest) is None:
            raise self._absent(descriptor.digest)
        try:
            with self._opened(self._places.blob(descriptor.digest)) as fd:
                content = b"".join(iter_bytes(fd, 0, descriptor.size + 1))
        except StoreFault:
            self.verified.forget(descriptor.digest)
            self.path(descriptor.digest, spare_unread=spare_unread)  # says that it is lost, where it is
            raise
        if digest_of(content) != descriptor.digest:
            self.verified.forget(descriptor.digest)
            self.path(descriptor.digest)
            raise ModelBroken(model=descriptor.digest, reason=f"it has not {descriptor.size} bytes")
        return content

    @contextmanager
    def chunks(self, descriptor: Descriptor, start: int, end: int | None) -> Iterator[Iterator[bytes]]:
        """As they are, not verified; but of the declared size."""
        found = self.status(descriptor.digest)
        if found is None:
            raise self._absent(descriptor.digest)
        if found.st_size != descriptor.size:
            expected, actual = f"{descriptor.size} bytes", f"{found.st_size} bytes"
            raise DigestMismatch(what=f"blob {descriptor.digest}", expected=expected, actual=actual)
        stop = descriptor.size if end is None else min(end, descriptor.size)
        with self._opened(self._places.blob(descriptor.digest)) as fd:
            yield iter_bytes(fd, start, stop)

    # ── quarantine ──────────────────────────────────────────────────────────────────────────────────

    def quarantine(self, digest: Digest, reason: str) -> None:
        """The reason first: a blob is never away without one. Repeatable after a crash at any point. Where
        the disk takes neither note nor move, this process remembers; the next finds it out again.
        """
        if self._read_only:
            return
        self.verified.forget(digest)
        self._unmoved[digest] = reason
        with suppress(ResourceError):
            self._move_to_quarantine(digest, reason)
            del self._unmoved[digest]

    def _move_to_quarantine(self, digest: Digest, reason: str) -> None:
        note = _Reason(digest=digest, reason=reason[:_MAX_REASON_CHARS])
        self._files.write_aside(self._places.quarantine_reason(digest), msgspec.json.encode(note))
        if self.status(digest) is not None:
            self._files.rename(self._places.blob(digest), self._places.quarantined(digest))
            self._files.fsync_dir(self._places.quarantine)
            self._files.fsync_dir(self._places.blobs)

    def quarantine_reason(self, digest: Digest) -> str | None:
        content = read_small(self._places.quarantine_reason(digest), _MAX_REASON_BYTES)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=_Reason).reason
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return f"blob {digest} is in quarantine; its reason cannot be read"

    def welcome(self, digest: Digest) -> None:
        """A blob has arrived whole: it is sound, and an earlier one in quarantine has no more to tell."""
        if found := self.status(digest):
            self.verified.record(digest, found)
        self._unmoved.pop(digest, None)
        # The reason last: were it to go first, a crash between would leave a blob in quarantine without one.
        self._files.unlink(self._places.quarantined(digest))
        if self._files.unlink(self._places.quarantine_reason(digest)):
            self._files.fsync_dir(self._places.quarantine)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def _examine(self, digest: Digest, *, spare_unread: bool = False) -> str | None:
        """Hash it all; a sound one is noted, another one quarantined."""
        with Examination(self._files, self._places.blob(digest), digest, from_disk=False) as examination:
            reason = examination.finish(self._require_running)
            if spare_unread and examination.lost is not None:
                raise examination.lost
            if not examination.is_current():
                return f"blob {digest} was changed while it was read"
            if reason is None:
                self.verified.record(digest, examination.found)
                self._unmoved.pop(digest, None)
        if reason:
            self.quarantine(digest, reason)
        return reason

    def _require_running(self) -> None:
        if self._halted.is_set():
            raise ShuttingDown

    def _absent(self, digest: Digest) -> ModelBroken | ModelNotFound:
        if reason := self.quarantine_reason(digest):
            return ModelBroken(model=digest, reason=reason)
        return ModelNotFound(model=digest, available=[])

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        fd = self._files.open_existing(path)
        try:
            yield fd
        finally:
            os.close(fd)


def _unreadable(digest: Digest, fault: StoreFault) -> str:
    return f"blob {digest} cannot be read: {fault.fields['reason']}"
