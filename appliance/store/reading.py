"""What a layout has and says, without what writes to it: a list of models needs no more, and loads no more.

The base of `Layout`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Self

from appliance.errors import ModelBroken
from appliance.store import lookup
from appliance.store.blobs import Blobs
from appliance.store.descriptor import Descriptor, Manifest, Resolved
from appliance.store.digest import Digest
from appliance.store.files import Files, only_read
from appliance.store.graph import Graph
from appliance.store.lock import StoreLock
from appliance.store.names import Entry, Names
from appliance.store.opened import check_foreign, close_store, open_store
from appliance.store.places import Places
from appliance.store.reference import Reference


class Reading:
    """As `Layout`: any thread of one process; another process meets `StoreInUse`."""

    def __init__(
        self,
        root: Path,
        *,
        files: Files,
        read_only: bool = False,
        portable: bool = False,
        lenient: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """As `Layout` has it."""
        self.root = root
        self.places = Places(root)
        self.files = files
        self.read_only = read_only
        self.monotonic = monotonic
        self._portable = portable
        self._lock: StoreLock | None = None
        if read_only:
            check_foreign(self.places)
            verified = None
        else:
            self._lock, verified = open_store(self.places, files, monotonic, lenient=lenient)
        with ExitStack() as undo:
            if self._lock:
                undo.callback(self._lock.close)
            self.names = Names(self.places, files, lenient=lenient)
            undo.pop_all()
        self.blobs = Blobs(self.places, files, verified, read_only=read_only)
        self.graph = Graph(self.blobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """In order, so that the next start believes all that is known. Nothing may be in work. Repeatable."""
        if self._lock:
            lock, self._lock = self._lock, None
            close_store(self.places, self.files, self.blobs.verified, lock, portable=self._portable)

    def entries(self) -> tuple[Entry, ...]:
        """All of the index, also what has no model's name."""
        return self.names.entries()

    def references(self) -> list[tuple[Reference, Descriptor]]:
        """Every name, sorted, and the manifest or index it stands for. Broken ones too: see `broken`."""
        return lookup.references(self.names)

    def lookup(self, reference: Reference) -> Descriptor:
        """Raises ModelNotFound with what there is, ModelBroken with what is wrong."""
        descriptor = self.find(reference)
        if reason := self.broken(descriptor):
            raise ModelBroken(model=reference.display, reason=reason)
        return descriptor

    def find(self, reference: Reference) -> Descriptor:
        """As `lookup`, but broken or not. Raises ModelNotFound."""
        return lookup.find(self.names, self.graph, self.blobs, reference)

    def broken(self, descriptor: Descriptor) -> str | None:
        """Why what hangs on this manifest cannot be used, as far as known without hashing it."""
        return self.graph.trouble(descriptor)

    def closure(self, descriptor: Descriptor) -> dict[Digest, Descriptor]:
        """A manifest and all blobs below it."""
        return self.graph.closure(descriptor)

    def resolve(self, reference: Reference) -> Resolved:
        descriptor = self.lookup(reference)
        return Resolved(descriptor=descriptor, content=self.fetch(descriptor))

    def fetch(self, descriptor: Descriptor, *, to_admit: bool = False) -> bytes:
        """`to_admit`: nothing is held against a blob that cannot be read just now."""
        with only_read() if to_admit else nullcontext():
            return self.blobs.read(descriptor, spare_unread=to_admit)

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """Somebody has read this manifest just now."""
        self.graph.learn(digest, manifest)
