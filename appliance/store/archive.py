"""A tar of an OCI layout: the exchange file of the offline world. Read in place, never unpacked; written in
one pass.

    oci-layout · blobs/sha256/<hex> … · index.json      the index last: an archive that was cut off has no
    names
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from appliance.errors import (
    DigestMismatch,
    InsufficientSpace,
    InvalidRequest,
    ManifestInvalid,
    ModelNotFound,
    StoreFault,
)
from appliance.store.content import Report, Source
from appliance.store.descriptor import Descriptor, Resolved
from appliance.store.digest import Digest, digest_of, hex_of
from appliance.store.examine import Examination
from appliance.store.files import TEMPORARY, Files, iter_bytes, status_opened
from appliance.store.names import MAX_INDEX_BYTES, Entry, entries_of, entry_for, parse_index, render
from appliance.store.opened import check_version
from appliance.store.outside import looking, status_at
from appliance.store.recovery import OCI_LAYOUT
from appliance.store.reference import Reference
from appliance.store.space import SLACK_BYTES
from appliance.store.tar_format import TRAILER, Member, members, padding, render_header
from appliance.store.transfer import fill

MAX_SMALL_BYTES: Final = 16 << 20
_MAX_LAYOUT_BYTES: Final = 4_096


class TarSource:
    """Any thread may read. The file stays open until `close`."""

    is_parallel = False

    def __init__(self, path: Path, *, files: Files) -> None:
        """Reads all headers and the index. Raises ManifestInvalid, StoreFault."""
        self._path = path
        self._files = files
        self._fd = files.open_existing(path)
        try:
            found = members(self._read, status_opened(self._fd).st_size, what=str(path))
            self._members = _without_top(found)
            check_version(self._small("oci-layout", _MAX_LAYOUT_BYTES), what=str(path))
            index = self._small("index.json", MAX_INDEX_BYTES)
            self._entries = entries_of(parse_index(index, what=f"index.json of {path}"))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def entries(self) -> tuple[Entry, ...]:
        return self._entries

    def references(self) -> list[tuple[Reference, Descriptor]]:
        named = [(entry.reference, entry.descriptor) for entry in self._entries if entry.reference]
        return sorted(named, key=lambda pair: pair[0].key)

    def resolve(self, reference: Reference) -> Resolved:
        for known, descriptor in self.references():
            if known.key == reference.key and reference.digest in {None, descriptor.digest}:
                return Resolved(descriptor=descriptor, content=self.fetch(descriptor))
        names = [known.display for known, _ in self.references()]
        raise ModelNotFound(model=reference.display, available=names)

    def fetch(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_SMALL_BYTES:
            reason = f"{descriptor.size} bytes are more than is read as a whole ({MAX_SMALL_BYTES})"
            raise ManifestInvalid(what=descriptor.digest, reason=reason)
        member = self._member(descriptor)
        content = self._read(member.offset, member.size)
        if digest_of(content) != descriptor.digest:
            actual = digest_of(content)
            raise DigestMismatch(what=f"a blob of {self._path}", expected=descriptor.digest, actual=actual)
        return content

    @contextmanager
    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        member = self._member(descriptor)
        stop = member.size if end is None else min(end, member.size)
        yield iter_bytes(self._fd, member.offset + start, member.offset + stop)

    def trouble(self, descriptor: Descriptor) -> str | None:
        """What is wrong with a blob, without reading it."""
        member = self._members.get(_place(descriptor))
        if member is None:
            return f"blob {descriptor.digest} is missing"
        if member.size != descriptor.size:
            return f"blob {descriptor.digest} has {member.size} of {descriptor.size} bytes"
        return None

    def examination(self, descriptor: Descriptor) -> Examination:
        """Of a blob that is there, from the disk. To be closed."""
        member = self._member(descriptor)
        within = member.offset, member.offset + member.size
        return Examination(self._files, self._path, descriptor.digest, from_disk=True, within=within)

    def _member(self, descriptor: Descriptor) -> Member:
        member = self._members.get(_place(descriptor))
        if member is None:
            raise ModelNotFound(model=descriptor.digest, available=[])
        if member.size != descriptor.size:
            expected, actual = f"{descriptor.size} bytes", f"{member.size} bytes"
            raise DigestMismatch(what=f"a blob of {self._path}", expected=expected, actual=actual)
        return member

    def _small(self, name: str, limit: int) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise ManifestInvalid(what=str(self._path), reason=f"it has no {name}: no OCI layout")
        if member.size > limit:
            raise ManifestInvalid(what=str(self._path), reason=f"{name} has {member.size} bytes")
        return self._read(member.offset, member.size)

    def _read(self, offset: int, length: int) -> bytes:
        return b"".join(iter_bytes(self._fd, offset, offset + length))


class TarTarget:
    """Owned by one thread. As a context manager: finished when the block ends, undone when it raises."""

    def __init__(self, path: Path, *, files: Files) -> None:
        """Raises InvalidRequest where something else than a plain file stands, StoreFault."""
        found = status_at(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise InvalidRequest(reason=f"{path} is there and is no file")
        self._path = path
        self._files = files
        self._aside = path.with_name(path.name + TEMPORARY)
        self._fd = files.create(self._aside)
        self._end = 0
        self._written: set[Digest] = set()
        self._entries: dict[str, Entry] = {}
        self._append("oci-layout", OCI_LAYOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.abort()

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._written

    def reserve(self, missing_bytes: int) -> None:
        """No floor: the archive's disk is the operator's, often a stick that is to be filled."""
        with looking(self._path.parent):
            disk = os.statvfs(self._path.parent)
        available = disk.f_bavail * disk.f_frsize
        if missing_bytes + SLACK_BYTES > available:
            raise InsufficientSpace(
                needed_bytes=missing_bytes,
                available_bytes=available,
                floor_bytes=0,
                directory=str(self._path.parent),
            )

    @contextmanager
    def expect(self, blobs: Sequence[Descriptor]) -> Iterator[None]:
        self.reserve(sum(blob.size for blob in blobs if blob.digest not in self._written))
        yield

    def take(self, descriptor: Descriptor, source: Source, report: Report) -> None:
        """A blob that fails leaves the archive as it was before."""
        if descriptor.digest in self._written:
            return
        growing = _Growing(self._files, self._fd, self._end, descriptor)
        fill(growing, descriptor, source, report, streams=1)
        self._end = growing.finish()
        self._written.add(descriptor.digest)

    def publish(self, reference: Reference, resolved: Resolved) -> None:
        if resolved.descriptor.digest not in self._written:
            self._append(f"blobs/sha256/{hex_of(resolved.descriptor.digest)}", resolved.content)
            self._written.add(resolved.descriptor.digest)
        self._entries[reference.key] = entry_for(reference, resolved.descriptor)

    def finish(self) -> None:
        """Durable under its name when this returns."""
        try:
            self._append("index.json", render([entry.raw for entry in self._entries.values()]))
            self._files.pwrite(self._fd, TRAILER, self._end)
            self._files.truncate(self._fd, self._end + len(TRAILER))
            self._files.fsync(self._fd)
            self._files.rename(self._aside, self._path)
            self._files.fsync_dir(self._path.parent)
        except BaseException:
            self.abort()
            raise
        self._release()

    def abort(self) -> None:
        self._release()
        with suppress(StoreFault):
            self._files.unlink(self._aside)

    def _append(self, name: str, content: bytes) -> None:
        member = render_header(name, len(content)) + content + padding(len(content))
        self._files.pwrite(self._fd, member, self._end)
        self._end += len(member)

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Growing:
    """The blob at the end of the archive, filled in order (`transfer.Arriving`). Owned by one thread."""

    def __init__(self, files: Files, fd: int, at: int, descriptor: Descriptor) -> None:
        self._files = files
        self._fd = fd
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._received = 0
        header = render_header(f"blobs/sha256/{hex_of(descriptor.digest)}", descriptor.size)
        files.pwrite(fd, header, at)
        self._start = at + len(header)

    @property
    def size(self) -> int:
        return self._descriptor.size

    def missing(self) -> list[tuple[int, int]]:
        return [(self._received, self.size)] if self._received < self.size else []

    def write(self, offset: int, content: bytes) -> None:
        if offset != self._received or offset + len(content) > self.size:
            expected = f"byte {self._received} of {self.size}"
            raise DigestMismatch(what=self._descriptor.digest, expected=expected, actual=f"byte {offset}")
        self._files.pwrite(self._fd, content, self._start + offset)
        self._hash.update(content)
        self._received += len(content)

    def checkpoint(self) -> None:
        """An archive is not resumed: it is durable as a whole or not there."""

    def finish(self) -> int:
        """Where the next member begins."""
        actual = f"sha256:{self._hash.hexdigest()}"
        if actual != self._descriptor.digest:
            raise DigestMismatch(what="the blob", expected=self._descriptor.digest, actual=actual)
        end = self._start + self.size
        self._files.pwrite(self._fd, padding(self.size), end)
        return end + len(padding(self.size))


def _place(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{hex_of(descriptor.digest)}"


def _without_top(found: dict[str, Member]) -> dict[str, Member]:
    """`tar cf x.tar model/` puts all below one directory; it is left out of the names."""
    tops = [
        name.removesuffix("oci-layout")
        for name in found
        if name.endswith("/oci-layout") and name.count("/") == 1
    ]
    if "oci-layout" in found or len(tops) != 1:
        return found
    return {name.removeprefix(tops[0]): member for name, member in found.items() if name.startswith(tops[0])}
