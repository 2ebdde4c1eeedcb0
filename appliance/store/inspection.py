"""A layout of others, examined where it lies: a directory (a stick) or a tar. Nothing is written or taken.

    oci-layout, index.json ─► every descriptor below: is it there, of its size? ─► every blob read and hashed

What is wrong with one blob stops nothing: the report has all of it. Blobs that nothing leads to may lie
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import InvalidRequest, ManifestInvalid, ModelNotFound, OutpostError, StoreFault
from appliance.store.archive import TarSource
from appliance.store.content import Progress, Report, unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.examine import Examination
from appliance.store.files import Files
from appliance.store.graph import MAX_DEPTH, parse_children
from appliance.store.layout import Layout
from appliance.store.media_types import MANIFEST_TYPES
from appliance.store.names import Entry
from appliance.store.outside import is_directory
from appliance.store.reference import Reference

VERIFYING: Final = "verifying"
MAX_DESCRIPTORS: Final = 1_000_000
"""So many are followed: an index of indexes may name the same manifests again and again."""
_STEP_BYTES: Final = 16 << 20
_NAMES_TOLD: Final = 3
_NAME_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    what: str
    """The names that need it, or the layout itself."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    names: int = 0
    blobs: int = 0
    """That were read."""
    size_bytes: int = 0
    problems: tuple[Problem, ...]


class Examinable(Protocol):
    def entries(self) -> tuple[Entry, ...]: ...

    def fetch(self, descriptor: Descriptor) -> bytes: ...

    def trouble(self, descriptor: Descriptor) -> str | None: ...

    def examination(self, descriptor: Descriptor) -> Examination: ...


def inspect(
    path: Path, name: Reference | None = None, report: Report = unreported, *, files: Files | None = None
) -> Inspected:
    """`name`: only what this name leads to. Blocks as long as reading it all takes. Raises ModelNotFound for
    a name that is not there; whatever else is wrong is in the report.
    """
    files = files or Files()
    with ExitStack() as opened:
        try:
            source: Examinable
            if is_directory(path):
                source = _Directory(opened.enter_context(Layout(path, files=files, read_only=True)))
            else:
                source = opened.enter_context(TarSource(path, files=files))
            entries = _wanted(source.entries(), name)
        except (InvalidRequest, ManifestInvalid, StoreFault) as error:
            return Inspected(problems=(Problem(what=str(path), reason=str(error.fields["reason"])),))
        except OSError as error:
            return Inspected(problems=(Problem(what=str(path), reason=error.strerror or str(error)),))
        return _Inspection(source, report).run(entries)


class _Directory:
    """A layout that is open for reading."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.entries = layout.entries
        self.fetch = layout.fetch
        self.trouble = layout.blobs.trouble

    def examination(self, descriptor: Descriptor) -> Examination:
        digest = descriptor.digest
        return Examination(self._layout.files, self._layout.places.blob(digest), digest, from_disk=True)


@dataclass(slots=True)
class _Reached:
    descriptor: Descriptor
    names: dict[str, None] = field(default_factory=dict)

    @property
    def what(self) -> str:
        told = list(self.names)[:_NAMES_TOLD]
        more = len(self.names) - len(told)
        return ", ".join([*told, *([f"{more} more"] if more else [])])


class _Inspection:
    """One inspection, of one thread."""

    def __init__(self, source: Examinable, report: Report) -> None:
        self._source = source
        self._report = report
        self._problems: list[Problem] = []
        self._reached: dict[tuple[Digest, int], _Reached] = {}
        """By size, too: two manifests may declare two."""
        self._children: dict[Digest, tuple[Descriptor, ...]] = {}
        self._followed = 0

    def run(self, entries: Sequence[Entry]) -> Inspected:
        for entry in entries:
            name = _told(entry)
            try:
                self._descend(entry.descriptor, name, MAX_DEPTH)
            except ManifestInvalid as error:
                self._problems.append(Problem(what=name, reason=error.message))
        sound = []
        for reached in self._reached.values():
            if trouble := self._source.trouble(reached.descriptor):
                self._problems.append(Problem(what=reached.what, reason=trouble))
            else:
                sound.append(reached)
        size_bytes = self._read(sound)
        return Inspected(
            names=len(entries), blobs=len(sound), size_bytes=size_bytes, problems=tuple(self._problems)
        )

    def _descend(self, descriptor: Descriptor, name: str, depth: int) -> None:
        """Raises ManifestInvalid where a manifest cannot be read for what it says."""
        self._followed += 1
        if self._followed > MAX_DESCRIPTORS:
            raise ManifestInvalid(what="the index", reason=f"more than {MAX_DESCRIPTORS} blobs are listed")
        key = descriptor.digest, descriptor.size
        self._reached.setdefault(key, _Reached(descriptor)).names[name] = None
        if descriptor.media_type not in MANIFEST_TYPES:
            return
        if depth == 0:
            raise ManifestInvalid(what=f"index {descriptor.digest}", reason="indexes are nested too deeply")
        for child in self._children_of(descriptor):
            self._descend(child, name, depth - 1)

    def _children_of(self, manifest: Descriptor) -> tuple[Descriptor, ...]:
        known = self._children.get(manifest.digest)
        if known is None:
            try:
                content = self._source.fetch(manifest)
            except ManifestInvalid:
                raise
            except OutpostError:
                return ()  # its bytes are not there or not right: the reading of all blobs tells
            known, _ = parse_children(content, what=f"manifest {manifest.digest}")
            self._children[manifest.digest] = known
        return known

    def _read(self, sound: Sequence[_Reached]) -> int:
        """Hash them; how many bytes that were."""
        total = sum(reached.descriptor.size for reached in sound)
        done = 0
        for reached in sound:
            self._report(Progress(status=VERIFYING, total_bytes=total, completed_bytes=done))
            try:
                with self._source.examination(reached.descriptor) as examination:
                    while got := examination.step(_STEP_BYTES):
                        done += got
                        self._report(Progress(status=VERIFYING, total_bytes=total, completed_bytes=done))
                    reason = examination.verdict(reached.descriptor.size)
            except OutpostError as error:
                reason = error.message
            if reason:
                self._problems.append(Problem(what=reached.what, reason=reason))
        return done


def _told(entry: Entry) -> str:
    if entry.reference is not None:
        return entry.reference.display
    return (entry.name or "(no name)")[:_NAME_CHARS]


def _wanted(entries: tuple[Entry, ...], name: Reference | None) -> tuple[Entry, ...]:
    if name is None:
        return entries
    found = tuple(entry for entry in entries if entry.reference and entry.reference.key == name.key)
    if not found:
        known = [entry.reference.display for entry in entries if entry.reference]
        raise ModelNotFound(model=name.display, available=known[:50])
    return found
