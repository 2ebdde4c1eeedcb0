"""The seams of `copy`: where content comes from, where it goes, and how the copying is told and stopped.

Sources: a registry, a directory with an OCI layout, a tar of one, a single GGUF, the store. Targets: the
store, a directory, a tar, a registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, hex_of
from appliance.store.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of news on long work. `Report` gets them from any thread of the work, never two at once."""

    status: str
    """As Ollama words it where Ollama has the step: `pulling manifest`, `pulling <12 hex>`,
    `verifying sha256 digest`, `writing manifest`, `success`.
    """
    digest: Digest | None = None
    total_bytes: int | None = None
    completed_bytes: int | None = None
    is_moving: bool = False
    """A blob on its way: the verb that moves it has its own word for that (`Words`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a verb that copies tells its steps."""

    first: str
    moving: str
    """Followed by what moves."""
    last: str = "writing manifest"


PULLING: Final = Words(first="pulling manifest", moving="pulling")
PUSHING: Final = Words(first="retrieving manifest", moving="pushing", last="pushing manifest")
"""Both as Ollama has them."""
IMPORTING: Final = Words(first="reading manifest", moving="importing")
EXPORTING: Final = Words(first="reading manifest", moving="exporting")


def moving(blob: Descriptor, completed_bytes: int) -> Progress:
    """News of a blob on its way, in the words of a pull until a verb puts its own (`worded`)."""
    return Progress(
        status=f"{PULLING.moving} {hex_of(blob.digest)[:12]}",
        digest=blob.digest,
        total_bytes=blob.size,
        completed_bytes=completed_bytes,
        is_moving=True,
    )


Report = Callable[[Progress], None]
"""It may raise `ClientGone` (or anything else): the work stops at the next chunk; what has come is kept."""

Wanted = Callable[[], None]
"""For who waits for a child and has no news, which is to be asked at least four times a second. It reports
the last news again, so it raises what the report raises, and the child is ended; a door tells old news but
once.
"""


def unreported(progress: Progress) -> None:
    """For callers that do not listen."""


def worded(report: Report, words: Words) -> Report:
    """To this report, what moves is told in these words."""

    def told(progress: Progress) -> None:
        if progress.is_moving and progress.digest is not None:
            status = f"{words.moving} {hex_of(progress.digest)[:12]}"
            progress = replace(progress, status=status)
        report(progress)

    return report if words is PULLING else told


class Source(Protocol):
    is_parallel: bool
    """Whether several threads may `open` at once and it pays."""

    def resolve(self, reference: Reference) -> Resolved:
        """The manifest or index of a name. Raises ModelNotFound, ManifestInvalid, RemoteError."""

    def fetch(self, descriptor: Descriptor) -> bytes:
        """A small blob or manifest as a whole, verified; bounded by its declared size."""

    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Bytes `[start, end)` of a blob in chunks, not verified. Never more than the declared size."""


class Target(Protocol):
    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, whole and sound."""

    def reserve(self, missing_bytes: int) -> None:
        """Before the first data byte. Raises InsufficientSpace."""

    def take(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        """Bring one blob over, verified while it streams; resumes what an earlier try has left. Raises
        DigestMismatch, StoreFault, RemoteError.
        """

    def publish(self, reference: Reference, resolved: Resolved) -> None:
        """Write the manifest and let the name point to it; durable when it returns. All blobs are there."""
