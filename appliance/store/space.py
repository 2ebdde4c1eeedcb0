"""Room on the disk: asked for before the first byte comes, with a floor that always stays free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from appliance.errors import InsufficientSpace, StoreFault
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.files import Files, status_of
from appliance.store.places import Places

T = TypeVar("T")

SLACK_BYTES: Final = 1 << 20
"""For manifests, states and the file system's own."""
BALLAST_BYTES: Final = 512 << 10
"""More than an index and the file system's own need."""


class Space:
    """Any thread; guarded by a lock of its own. Copies announce what they will bring (`expect`), so that two
    at once do not both count on the same room.
    """

    def __init__(self, places: Places, floor_fraction: float) -> None:
        self._places = places
        self._floor_fraction = floor_fraction
        self._lock = threading.Lock()
        self._expected: dict[int, dict[Digest, int]] = {}
        self._next = 0

    def require(self, needed_bytes: int, *, without: frozenset[Digest] = frozenset()) -> None:
        """Raises InsufficientSpace. `without`: announced digests that are part of what is asked for."""
        free, floor = self.free_bytes()
        with self._lock:
            promised = self._promised_bytes(without)
        if needed_bytes + SLACK_BYTES > free - promised - floor:
            raise InsufficientSpace(
                needed_bytes=needed_bytes,
                available_bytes=max(0, free - promised),
                floor_bytes=floor,
                directory=str(self._places.root),
            )

    @contextmanager
    def expect(self, arriving: Sequence[Descriptor]) -> Iterator[None]:
        """While it lasts, this room is spoken for. Raises InsufficientSpace."""
        wanted = {blob.digest: blob.size for blob in arriving if not self._is_allocated(blob.digest)}
        self.require(sum(wanted.values()), without=frozenset(wanted))
        with self._lock:
            number = self._next = self._next + 1
            self._expected[number] = wanted
        try:
            yield
        finally:
            with self._lock:
                del self._expected[number]

    def free_bytes(self) -> tuple[int, int]:
        """Free, and how much of it stays so."""
        try:
            disk = os.statvfs(self._places.root)
        except OSError as error:
            raise StoreFault(path=str(self._places.root), reason=error.strerror or str(error)) from error
        return disk.f_bavail * disk.f_frsize, int(disk.f_blocks * disk.f_frsize * self._floor_fraction)

    def _promised_bytes(self, without: frozenset[Digest]) -> int:
        """What was announced and has no blocks yet; a digest that several expect comes once."""
        expected = {digest: size for wanted in self._expected.values() for digest, size in wanted.items()}
        return sum(
            size
            for digest, size in expected.items()
            if digest not in without and not self._is_allocated(digest)
        )

    def _is_allocated(self, digest: Digest) -> bool:
        """A part has all its blocks from its first moment."""
        return bool(status_of(self._places.blob(digest)) or status_of(self._places.part_state(digest)))


def load_ballast(places: Places, files: Files) -> None:
    """Have the ballast where there is room for it."""
    found = status_of(places.ballast)
    if found and found.st_size == BALLAST_BYTES:
        return
    with suppress(InsufficientSpace):
        descriptor = files.create(places.ballast)
        try:
            files.fallocate(descriptor, BALLAST_BYTES)
        finally:
            os.close(descriptor)


def without_ballast(places: Places, files: Files, action: Callable[[], T]) -> T:
    """Do it; on a full disk, once more with the room of the ballast. For what makes room in the end."""
    try:
        return action()
    except InsufficientSpace:
        if not files.unlink(places.ballast):
            raise
        return action()
