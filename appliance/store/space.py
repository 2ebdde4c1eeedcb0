"""Room on the disk: asked for before the first byte comes, with a floor that always stays free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
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
    """Any thread; guarded by a lock of its own. Copies announce what they will bring (`expect`), other work
    what it will write (`room`), so that two at once do not both count on the same room.
    """

    def __init__(self, places: Places, floor_fraction: float) -> None:
        self._places = places
        self._floor_fraction = floor_fraction
        self._lock = threading.Lock()
        self._expected: dict[int, dict[Digest, int]] = {}
        self._rooms: dict[int, int] = {}
        self._next = 0

    def require(self, needed_bytes: int, *, without: frozenset[Digest] = frozenset()) -> None:
        """Raises InsufficientSpace. `without`: announced digests that are part of what is asked for."""
        with self._lock:
            self._check(needed_bytes, without=without)

    @contextmanager
    def expect(self, arriving: Sequence[Descriptor]) -> Iterator[None]:
        """While it lasts, this room is spoken for. Raises InsufficientSpace."""
        wanted = {blob.digest: blob.size for blob in arriving}
        with self._lock:
            needed = sum(size for digest, size in wanted.items() if not self._is_allocated(digest, size))
            self._check(needed, without=frozenset(wanted))
            number = self._number()
            self._expected[number] = wanted
        try:
            yield
        finally:
            with self._lock:
                del self._expected[number]

    @contextmanager
    def room(self) -> Iterator[Room]:
        """For work whose bytes have no digest yet; nothing is spoken for until it asks."""
        with self._lock:
            number = self._number()
            self._rooms[number] = 0
        try:
            yield Room(self, number)
        finally:
            with self._lock:
                del self._rooms[number]

    def promise(self, number: int, needed_bytes: int) -> None:
        """What room `number` asks for, instead of what it had. Raises InsufficientSpace."""
        with self._lock:
            self._check(needed_bytes, beside=number)
            self._rooms[number] = needed_bytes

    def give_back(self, number: int, left_bytes: int) -> None:
        with self._lock:
            self._rooms[number] = min(self._rooms[number], left_bytes)

    def free_bytes(self) -> tuple[int, int]:
        """Free, and how much of it stays so."""
        try:
            disk = os.statvfs(self._places.root)
        except OSError as error:
            raise StoreFault(path=str(self._places.root), reason=error.strerror or str(error)) from error
        return disk.f_bavail * disk.f_frsize, int(disk.f_blocks * disk.f_frsize * self._floor_fraction)

    def _check(
        self, needed_bytes: int, *, without: frozenset[Digest] = frozenset(), beside: int | None = None
    ) -> None:
        """The lock is held."""
        free, floor = self.free_bytes()
        promised = self._promised_bytes(without, beside)
        if needed_bytes + SLACK_BYTES > free - promised - floor:
            raise InsufficientSpace(
                needed_bytes=needed_bytes,
                available_bytes=max(0, free - promised),
                floor_bytes=floor,
                directory=str(self._places.root),
            )

    def _promised_bytes(self, without: frozenset[Digest], beside: int | None) -> int:
        """What was announced and has no blocks yet; a digest that several expect comes once."""
        expected = {digest: size for wanted in self._expected.values() for digest, size in wanted.items()}
        arriving = sum(
            size
            for digest, size in expected.items()
            if digest not in without and not self._is_allocated(digest, size)
        )
        return arriving + sum(size for number, size in self._rooms.items() if number != beside)

    def _is_allocated(self, digest: Digest, size: int) -> bool:
        """A part has all its blocks from its first moment. A file of another size is not what is expected:
        it is replaced.
        """
        blob, part = self._places.blob(digest), self._places.part(digest)
        has_state = status_of(self._places.part_state(digest)) is not None
        return _has_size(blob, size) or (has_state and _has_size(part, size))

    def _number(self) -> int:
        self._next += 1
        return self._next


class Room:
    """What one piece of work is promised beyond what it has on the disk. Owned by its thread."""

    def __init__(self, space: Space, number: int) -> None:
        self._space = space
        self._number = number

    def require(self, needed_bytes: int) -> None:
        """Keep so much free from now on. Raises InsufficientSpace."""
        self._space.promise(self._number, needed_bytes)

    def keep(self, left_bytes: int) -> None:
        """The rest has its blocks now."""
        self._space.give_back(self._number, max(0, left_bytes))


def _has_size(path: Path, size: int) -> bool:
    try:
        found = status_of(path)
    except StoreFault:
        return False
    return found is not None and found.st_size == size


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
