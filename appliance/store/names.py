"""The names of a layout: `index.json`, one descriptor per name.

A name is an entry annotated with `org.opencontainers.image.ref.name`. Entries of other tools (no name, or one
that is no model's name) are kept as they are. The file is replaced as a whole, aside and durably; then it is
written once more, as `index.json.copy`, for `rebuild.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from appliance.errors import InvalidReference, ManifestInvalid, ResourceError, StoreFault
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest, parse_digest
from appliance.store.files import Files, read_small, status_of
from appliance.store.media_types import OCI_INDEX, REF_NAME
from appliance.store.places import Places
from appliance.store.reference import Reference, parse_reference

MAX_INDEX_BYTES: Final = 16 << 20
_MAX_SIZE: Final = 1 << 50
REBUILD: Final = "`outpost verify --rebuild-index` builds it again from what is stored"
"""The next step after the loss of an index."""


class _Descriptor(msgspec.Struct, omit_defaults=True):
    mediaType: str  # noqa: N815 - as OCI writes it
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifactType: str | None = None  # noqa: N815
    platform: dict[str, Any] | None = None


class _Index(msgspec.Struct):
    manifests: list[_Descriptor]
    schemaVersion: int = 2  # noqa: N815
    mediaType: str = OCI_INDEX  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One descriptor of the index. `reference` is None where the name is missing or not a model's."""

    descriptor: Descriptor
    name: str | None
    reference: Reference | None
    raw: _Descriptor
    """As it stands in the file, with what we do not read."""

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest

    @property
    def bare_tag(self) -> str | None:
        """The name where it is a tag and no more, as OCI's tools write it; then no model is named."""
        return self.name if self.reference and self.name and not set("/:") & set(self.name) else None


class Names:
    """Any thread may read. Who writes holds `Layout.index_lock`."""

    def __init__(self, places: Places, files: Files, *, lenient: bool = False) -> None:
        """Raises ManifestInvalid for an index that cannot be read: nothing must be written over it.
        `lenient`: every method does that instead, with a StoreFault that tells the next step.
        """
        self._places = places
        self._files = files
        self._lock = threading.Lock()
        self._identity: tuple[int, ...] = ()
        self._entries: tuple[Entry, ...] = ()
        self._lenient = lenient
        if not lenient:
            self.entries()

    def entries(self) -> tuple[Entry, ...]:
        """Read again only when the file is another one."""
        with self._lock:
            found = status_of(self._places.index)
            if found is None:
                raise StoreFault(path=str(self._places.index), reason=f"it is gone; {REBUILD}")
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if identity != self._identity:
                self._entries = entries_of(self._read())
                self._identity = identity
            return self._entries

    def _read(self) -> list[_Descriptor]:
        try:
            return read_index(self._places.index)
        except (ManifestInvalid, StoreFault) as error:
            if not self._lenient:
                raise
            reason = f"{error.fields['reason']}; {REBUILD}"
            raise StoreFault(path=str(self._places.index), reason=reason) from error

    def find(self, reference: Reference) -> Entry | None:
        key = reference.key
        return next(
            (entry for entry in self.entries() if entry.reference and entry.reference.key == key), None
        )

    def point(self, reference: Reference, descriptor: Descriptor) -> None:
        """Let the name stand for this; durable when it returns. Unchanged: nothing is written."""
        entry = entry_for(reference, descriptor)
        before = self.find(reference)
        if before and before.name == entry.name and before.descriptor.digest == descriptor.digest:
            return
        self._write([*self._others(reference), entry.raw])

    def annotate(self, entry: Entry, annotations: Mapping[str, str]) -> None:
        """Keep other words with a name that stays what it is; durable when it returns. Unchanged: nothing is
        written.
        """
        if entry.reference is None or entry.descriptor.annotations == annotations:
            return
        named = {REF_NAME: entry.name} if entry.name is not None else {}
        raw = msgspec.structs.replace(entry.raw, annotations={**annotations, **named})
        self._write([*self._others(entry.reference), raw])

    def drop(self, reference: Reference) -> bool:
        """Whether it was there; durable when it returns."""
        if self.find(reference) is None:
            return False
        self._write(self._others(reference))
        return True

    def _others(self, reference: Reference) -> list[_Descriptor]:
        key = reference.key
        return [entry.raw for entry in self.entries() if not (entry.reference and entry.reference.key == key)]

    def _write(self, manifests: Sequence[_Descriptor]) -> None:
        """Raises StoreFault also for a list that nobody could read again."""
        index = self._places.index
        content = render(manifests)
        if len(content) > MAX_INDEX_BYTES:
            raise StoreFault(
                path=str(index),
                reason=f"with {len(manifests)} names it would have {len(content)} bytes, the most is "
                f"{MAX_INDEX_BYTES}; remove names (outpost rm) before you add more",
            )
        self._files.write_aside(index, content)
        with self._lock:
            self._identity = ()
        with suppress(ResourceError):  # the name is what it should be; the next change or start tries again
            self._files.write_aside(self._places.index_copy, content)


def renew_copy(places: Places, files: Files) -> None:
    """Where a crash or a full disk came between the index and its copy. That an index cannot be read is no
    reason to lose the copy of what it was.
    """
    with suppress(ManifestInvalid, ResourceError):
        content = read_small(places.index, MAX_INDEX_BYTES) or b""
        has_names = bool(parse_index(content, what="the index"))
        copy = read_small(places.index_copy, MAX_INDEX_BYTES)
        if copy != content and (has_names or copy is not None):
            files.write_aside(places.index_copy, content)


def render(manifests: Sequence[_Descriptor]) -> bytes:
    return msgspec.json.format(
        msgspec.json.encode(_Index(manifests=list(manifests)), order="sorted"), indent=2
    )


def read_index(path: Path) -> list[_Descriptor]:
    """Raises ManifestInvalid, StoreFault."""
    content = read_small(path, MAX_INDEX_BYTES)
    if content is None:
        raise ManifestInvalid(what=str(path), reason="it is not there")
    return parse_index(content, what=str(path))


def parse_index(content: bytes, *, what: str) -> list[_Descriptor]:
    """The top index of a layout, bounded before it is parsed. Raises ManifestInvalid."""
    if len(content) > MAX_INDEX_BYTES:
        raise ManifestInvalid(what=what, reason=f"it has more than {MAX_INDEX_BYTES} bytes")
    try:
        index = msgspec.json.decode(content, type=_Index)
        for manifest in index.manifests:
            parse_digest(manifest.digest)
            if not 0 <= manifest.size <= _MAX_SIZE:
                raise ManifestInvalid(what=what, reason=f"{manifest.size} is no size of a manifest")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestInvalid(what=what, reason=f"it is no OCI index: {error}") from error
    except InvalidReference as error:
        raise ManifestInvalid(what=what, reason=str(error.fields["reason"])) from error
    if index.schemaVersion != 2:
        raise ManifestInvalid(what=what, reason=f"schema version {index.schemaVersion} is not known")
    return index.manifests


def entry_for(reference: Reference, descriptor: Descriptor) -> Entry:
    """What is written for a name."""
    raw = _Descriptor(
        mediaType=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations={**descriptor.annotations, REF_NAME: reference.with_digest(None).name},
        artifactType=descriptor.artifact_type,
    )
    return _entry(raw)


def entries_of(manifests: Sequence[_Descriptor]) -> tuple[Entry, ...]:
    return tuple(_entry(raw) for raw in manifests)


def _entry(raw: _Descriptor) -> Entry:
    annotations = {key: value for key, value in raw.annotations.items() if key != REF_NAME}
    name = raw.annotations.get(REF_NAME)
    return Entry(
        descriptor=Descriptor(
            media_type=raw.mediaType,
            digest=parse_digest(raw.digest),
            size=raw.size,
            annotations=MappingProxyType(annotations),
            artifact_type=raw.artifactType,
        ),
        name=name,
        reference=_reference(name),
        raw=raw,
    )


def _reference(name: str | None) -> Reference | None:
    try:
        return replace(parse_reference(name), digest=None) if name else None
    except InvalidReference:
        return None
