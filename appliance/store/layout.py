"""An OCI image layout on disk: the store itself, a directory or a stick. A `Source` and a `Target` of `copy`.

What a name needs is written before the name: blobs, the manifest's blob, then `index.json`; each aside,
synced, renamed, its directory synced. Where things lie is drawn in `places.py`, what a crash leaves is
settled by `recovery.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from appliance.errors import (
    DigestMismatch,
    ManifestInvalid,
    OutpostError,
    ResourceError,
    StoreFault,
)
from appliance.store import lookup
from appliance.store.adopt import Adoption
from appliance.store.age import Ages
from appliance.store.content import Progress, Report, Source, moving, unreported
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.files import Files, only_read, status_of
from appliance.store.graph import parse_children
from appliance.store.ingest import READ_ONLY, Ingest
from appliance.store.lock import BlobLocks, Holds
from appliance.store.media_types import MODEL_WEIGHT
from appliance.store.reading import Reading
from appliance.store.rebuild import rebuild
from appliance.store.reference import Reference
from appliance.store.space import Room, Space, load_ballast, without_ballast
from appliance.store.touches import Touches
from appliance.store.transfer import fill


class Layout(Reading):
    """Any thread of one process; another process meets `StoreInUse`. `index_lock` guards the names and what
    gc removes, `locks` each blob's arrival and hashing.
    """

    is_parallel = False

    def __init__(
        self,
        root: Path,
        *,
        files: Files,
        floor_fraction: float = 0.05,
        read_only: bool = False,
        portable: bool = False,
        lenient: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes or recovers the store. `read_only`: a foreign layout that is left as it is. `portable`:
        `close` leaves nothing but the layout (a directory to carry away). `lenient`: an index that is damaged
        or lost is a StoreFault of every verb until `rebuild_index`, not of opening. Raises StoreInUse,
        StoreFault, ManifestInvalid.
        """
        super().__init__(
            root, files=files, read_only=read_only, portable=portable, lenient=lenient, monotonic=monotonic
        )
        self.ages = Ages(monotonic)
        self.space = Space(self.places, floor_fraction)
        if not read_only and not portable:
            load_ballast(self.places, files)
        self.locks = BlobLocks()
        self.holds = Holds()
        self.index_lock = threading.RLock()
        self.touches = Touches(monotonic)
        self._arriving: dict[Digest, Ingest] = {}

    # ── names ───────────────────────────────────────────────────────────────────────────────────────

    def untag(self, reference: Reference) -> None:
        """Durable when it returns; the bytes go with the next gc. Raises ModelNotFound, also where the name
        stands for other content than the digest beside it says.
        """
        self._require_writable()
        with self.index_lock:
            entry = self.names.find(reference)
            if entry is None or reference.digest not in (None, entry.descriptor.digest):
                raise lookup.not_found(self.names, reference)
            without_ballast(self.places, self.files, lambda: self.names.drop(reference))
            self._release(entry.descriptor)

    def rebuild_index(self) -> list[str] | None:
        """Where it is damaged or lost, build it again of all that is stored; the names there are then. None:
        it is sound, and stays. Raises StoreFault, InsufficientSpace.
        """
        self._require_writable()
        with self.index_lock:
            try:
                self.names.entries()
            except (StoreFault, ManifestInvalid):
                return without_ballast(self.places, self.files, lambda: rebuild(self.places, self.files))
        return None

    def publish(self, reference: Reference, resolved: Resolved) -> None:
        """The manifest, then the name; durable when it returns. Raises ManifestInvalid when a blob is
        missing.
        """
        if digest_of(resolved.content) != resolved.descriptor.digest:
            actual = digest_of(resolved.content)
            raise DigestMismatch(what=reference.display, expected=resolved.descriptor.digest, actual=actual)
        parse_children(resolved.content, what=reference.display)
        with self.hold([resolved.descriptor.digest]):  # between the blob and its name, too
            self._put(resolved.descriptor, resolved.content)
            self._point(reference, resolved.descriptor)
        with suppress(ResourceError):  # the name is there; what is lost is the memory of some hashing
            self.settle()

    def annotate(
        self,
        reference: Reference,
        digest: Digest,
        change: Callable[[Mapping[str, str]], Mapping[str, str]],
    ) -> None:
        """Change the annotations of a name, if it is there and still stands for this content; durable when it
        returns.
        """
        self._require_writable()
        with self.index_lock:
            entry = self.names.find(reference)
            if entry is not None and entry.descriptor.digest == digest:
                self.names.annotate(entry, change(entry.descriptor.annotations))

    # ── content out ─────────────────────────────────────────────────────────────────────────────────

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Of a foreign layout without hashing first: a stick may read differently the second time, so only
        the taker's own hash counts.
        """
        if not self.read_only:
            self.path(descriptor.digest)
        return self.blobs.chunks(descriptor, start, end)

    def path(self, digest: Digest, *, to_admit: bool = False) -> Path:
        """Of a sound blob; hashed first where it is not known as such. `to_admit`: nothing is held against
        one that cannot be read just now, it is FileUnreadable. Raises ModelBroken, ModelNotFound.
        """
        with only_read() if to_admit else nullcontext():
            found = self.blobs.status(digest)
            if found and self.blobs.verified.knows(digest, found):
                return self.places.blob(digest)
            with self.locks.alone(digest):
                return self.blobs.path(digest, spare_unread=to_admit)

    # ── content in ──────────────────────────────────────────────────────────────────────────────────

    def has(self, descriptor: Descriptor) -> bool:
        """What it says yes to stays for an hour, named or not."""
        self.touches.note(descriptor.digest)
        if self.blobs.trouble(descriptor) is not None:
            return False  # also while it arrives: `take` knows how to wait
        with self.locks.alone(descriptor.digest):
            return self.blobs.is_sound(descriptor)

    def reserve(self, missing_bytes: int) -> None:
        self._require_writable()
        self.space.require(missing_bytes)

    @contextmanager
    def expect(self, blobs: Sequence[Descriptor]) -> Iterator[None]:
        """Around a copy: room for what is missing of these is kept free from others, and none of them is
        collected. Raises InsufficientSpace.
        """
        self._require_writable()
        with self.hold([blob.digest for blob in blobs]):
            # What lies there but is not sound comes anew, and needs its room too.
            missing = [blob for blob in blobs if not self.has(blob)]
            with self.space.expect(missing):
                yield

    def take(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        """A second taker of one blob waits, is told of its progress, and finds it done."""
        self._require_writable()
        self.touches.note(descriptor.digest)
        with self.locks.alone(descriptor.digest, lambda: self._tell_arriving(descriptor, report)):
            if self.blobs.is_sound(descriptor):
                report(moving(descriptor, descriptor.size))
            else:
                self._bring(descriptor, source, report)
            self.touches.note(descriptor.digest)

    def put(self, content: bytes, media_type: str) -> Descriptor:
        """A small blob, durable when it returns."""
        descriptor = Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))
        self._put(descriptor, content)
        return descriptor

    def adopt(
        self,
        path: Path,
        *,
        link: bool = False,
        report: Report = unreported,
        media_type: str = MODEL_WEIGHT,
        room: Room | None = None,
        later_bytes: int = 0,
    ) -> Descriptor:
        """A local file as a blob: linked (it becomes read-only), or cloned, or copied, then with `room` for
        `later_bytes` too. Raises InvalidRequest for what is no plain file, InsufficientSpace, StoreFault.
        """
        self._require_writable()
        with nullcontext(room) if room else self.space.room() as kept:
            adoption = Adoption(self.places, self.files, path, report, room=kept, later_bytes=later_bytes)
            digest = adoption.run(link=link)
        descriptor = Descriptor(media_type=media_type, digest=digest, size=adoption.size)
        with self.locks.alone(digest):
            self._settle_temporary(adoption.temporary, descriptor)
        return descriptor

    def settle_temporary(self, temporary: Path, descriptor: Descriptor) -> None:
        """Content of this digest, whole and durable beside the blobs, becomes one; or goes, where it is there
        already.
        """
        self._require_writable()
        with self.locks.alone(descriptor.digest):
            self._settle_temporary(temporary, descriptor)

    def quarantine(self, digest: Digest, reason: str) -> None:
        """Never served again until it arrives anew; the models that need it are broken with this reason."""
        with self.locks.alone(digest):
            self.blobs.quarantine(digest, reason)

    def put_away(self, digest: Digest, reason: str, *, needed: Callable[[], Collection[Digest]]) -> None:
        """`quarantine` of what nobody has: not what other work holds (it judges for itself) nor what is
        `needed`, which is asked while no new work can find the blob. A hold of the calling thread does not
        count.
        """
        with self.locks.alone(digest):
            # In this order: who lets go of a blob has named it before.
            if not self.holds.held_elsewhere(digest) and digest not in needed():
                self.blobs.quarantine(digest, reason)

    def hold(self, digests: Collection[Digest]) -> AbstractContextManager[None]:
        """While it lasts, gc leaves these alone."""
        return self.holds.hold(frozenset(digests))

    def let_go(self, digests: Collection[Digest]) -> None:
        """No name needs these any more: they need not grow old before gc takes them."""
        with self.index_lock:
            self.touches.release(digests)

    def settle(self) -> None:
        """Note what is known for the next start; cheap when there is nothing new. Called now and then."""
        if not self.read_only:
            self.blobs.verified.settle(self.files)

    def make_ready(self) -> None:
        """After room was made: take back the ballast, if it was given up."""
        if not self.read_only and not self._portable:
            load_ballast(self.places, self.files)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    def _bring(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        if status_of(self.places.part_state(descriptor.digest)) is None:
            self.space.require(descriptor.size, without=frozenset({descriptor.digest}))
        ingest = Ingest(self.places, self.files, descriptor)
        self._arriving[descriptor.digest] = ingest
        try:
            fill(ingest, descriptor, source, report)
            report(Progress(status="verifying sha256 digest", digest=descriptor.digest))
            ingest.commit()
            self.blobs.welcome(descriptor.digest)
        finally:
            del self._arriving[descriptor.digest]
            ingest.close()

    def _tell_arriving(self, descriptor: Descriptor, report: Report) -> None:
        ingest = self._arriving.get(descriptor.digest)
        report(moving(descriptor, ingest.received_bytes if ingest else 0))

    def _point(self, reference: Reference, descriptor: Descriptor) -> None:
        with self.index_lock:
            if reason := self.broken(descriptor):
                raise ManifestInvalid(what=reference.display, reason=reason)
            before = self.names.find(reference)
            self.names.point(reference, descriptor)
            if before and before.descriptor.digest != descriptor.digest:
                self._release(before.descriptor)

    def _put(self, descriptor: Descriptor, content: bytes) -> None:
        self._require_writable()
        self.touches.note(descriptor.digest)
        with self.locks.alone(descriptor.digest):
            if not self.blobs.is_sound(descriptor):
                self.space.require(len(content))
                temporary = self.places.temporary(hex_of(descriptor.digest))
                self.files.write_durably(temporary, content, mode=READ_ONLY)
                self._settle_temporary(temporary, descriptor)
            self.touches.note(descriptor.digest)

    def _settle_temporary(self, temporary: Path, descriptor: Descriptor) -> None:
        """Content that is whole and durable gets its name, or goes. The digest's lock is held."""
        with ExitStack() as undo:
            undo.callback(self._drop, temporary)
            if not self.blobs.is_sound(descriptor):
                self.files.rename(temporary, self.places.blob(descriptor.digest))
                undo.pop_all()
                self.files.fsync_dir(self.places.blobs)
                self.blobs.welcome(descriptor.digest)
        self.touches.note(descriptor.digest)

    def _drop(self, temporary: Path) -> None:
        with suppress(StoreFault):  # the next start removes it
            self.files.unlink(temporary)

    def _release(self, top: Descriptor) -> None:
        """A name has let go of it. The index lock is held."""
        with suppress(OutpostError):  # else its blobs are collected by age
            self.touches.release(self.graph.closure(top))

    def _require_writable(self) -> None:
        if self.read_only:
            raise StoreFault(path=str(self.root), reason="it was opened for reading only")
