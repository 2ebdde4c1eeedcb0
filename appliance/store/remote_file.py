"""A GGUF behind a plain URL, of a split one all parts: no manifest, no digest; size and validator are all
there is to hold on to.

    GET, first byte only ─► size, ETag ─► ingest under a name made of URL, size and validator
    ─► ranges, each with If-Range ─► all there ─► adopted: hashed, and now a blob like others

A file that changes on the server has another validator, so another ingest: two files are never mixed. Without
a validator nothing is kept between tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from appliance.errors import DigestMismatch, RemoteRefused
from appliance.store.byte_range import Wanted, body_of, is_ranged, whole_size
from appliance.store.content import Progress, Report
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.files import status_of
from appliance.store.http import Answer, Door
from appliance.store.ingest import Ingest, read_state
from appliance.store.layout import Layout
from appliance.store.local_files import part_names
from appliance.store.manifest import MAX_BLOB_BYTES
from appliance.store.media_types import MODEL_WEIGHT
from appliance.store.retry import patiently
from appliance.store.space import Room
from appliance.store.transfer import fill

_FIRST_BYTE: Final = {"Range": "bytes=0-0"}
_MAX_NAME_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """What a server says of a file before it is fetched."""

    url: str
    size: int
    validator: str | None
    """A strong ETag, or Last-Modified; None: two answers cannot be told apart."""
    serves_ranges: bool

    @property
    def file_name(self) -> str:
        """The last part of the URL's path: for people, never for a path."""
        name = unquote(urlsplit(self.url).path.rpartition("/")[2])
        return "".join(c for c in name if c.isprintable())[:_MAX_NAME_CHARS] or "file"


def examine(door: Door, url: str) -> RemoteFile:
    """Raises OutboundRefused, RemoteError; RemoteRefused too when the server does not tell the size."""
    return patiently(lambda: _examine(door, url))


def _examine(door: Door, url: str) -> RemoteFile:
    with door.follow(url, headers=_FIRST_BYTE, secret=_secret(door, url)) as answer:
        if answer.status not in (200, 206):
            raise answer.refused()
        size = whole_size(answer)
        if size is None or not 0 < size <= MAX_BLOB_BYTES:
            raise RemoteRefused(
                host=str(answer.origin), status=answer.status, reason="it does not tell the file's size"
            )
        return RemoteFile(url=url, size=size, validator=_validator(answer), serves_ranges=is_ranged(answer))


def part_urls(url: str) -> list[str]:
    """Of one part of a split GGUF the addresses of all, in order; of another file its own. Raises
    InvalidRequest.
    """
    address = urlsplit(url)
    folder, slash, name = address.path.rpartition("/")
    return [
        urlunsplit(address._replace(path=f"{folder}{slash}{part}", fragment="")) for part in part_names(name)
    ]


def download(
    door: Door,
    urls: Sequence[str],
    layout: Layout,
    report: Report,
    *,
    hold: Callable[[Descriptor], None] = lambda _: None,
) -> list[Descriptor]:
    """The files as blobs of `layout`, durable when this returns; nothing names them yet, and `hold` is told
    of each. Room for all is kept before the first byte. What has come of a failed try is kept when the file
    can be known again. Raises also DigestMismatch for a file that changes meanwhile, StoreFault,
    InsufficientSpace.
    """
    remotes = [examine(door, url) for url in urls]
    blobs = []
    arriving = [_arriving(remote).digest for remote in remotes]
    with layout.hold(arriving), layout.space.room() as room:
        for number, remote in enumerate(remotes, 1):
            later_bytes = sum(_missing_bytes(layout, _arriving(later)) for later in remotes[number:])
            blobs.append(_download(door, remote, layout, report, room=room, later_bytes=later_bytes))
            hold(blobs[-1])
    return blobs


def _arriving(remote: RemoteFile) -> Descriptor:
    """Under this name it lies in ingest."""
    return Descriptor(
        media_type=MODEL_WEIGHT,
        digest=digest_of(f"{remote.url}\n{remote.size}\n{remote.validator}".encode()),
        size=remote.size,
    )


def _missing_bytes(layout: Layout, arriving: Descriptor) -> int:
    """A part has all its blocks from its first moment."""
    state = read_state(layout.places.part_state(arriving.digest))
    return 0 if state is not None and state.size == arriving.size else arriving.size


def _download(
    door: Door, remote: RemoteFile, layout: Layout, report: Report, *, room: Room, later_bytes: int
) -> Descriptor:
    arriving = _arriving(remote)

    def tell(progress: Progress) -> None:
        report(replace(progress, status=f"pulling {remote.file_name}", digest=None))

    with layout.locks.alone(arriving.digest):
        _forget_adopted(layout, arriving)
        room.require(_missing_bytes(layout, arriving) + later_bytes)
        ingest = Ingest(layout.places, layout.files, arriving)
        room.keep(later_bytes)
        try:
            fill(ingest, arriving, FileSource(door, remote), tell)
            ingest.checkpoint()
            part = layout.places.part(arriving.digest)
            blob = layout.adopt(part, link=True, report=report, room=room, later_bytes=later_bytes)
        except BaseException:
            if remote.validator is None:
                ingest.discard()
            raise
        else:
            ingest.discard()
        finally:
            ingest.close()
    return blob


def _forget_adopted(layout: Layout, arriving: Descriptor) -> None:
    """A kill right behind the adoption leaves a part that is the blob's own file by a second name: it must
    not be written to again. One that was killed before it got that name is the part alone, and goes on.
    """
    part = layout.places.part(arriving.digest)
    found = status_of(part)
    if found and found.st_nlink > 1:
        layout.files.unlink(part)
        layout.files.unlink(layout.places.part_state(arriving.digest))


class FileSource:
    """One file as a source of `fill`, whatever descriptor it is asked for; any thread."""

    def __init__(self, door: Door, remote: RemoteFile) -> None:
        self._door = door
        self._remote = remote
        self.is_parallel = remote.serves_ranges and remote.validator is not None

    @contextmanager
    def open(
        self,
        descriptor: Descriptor,  # noqa: ARG002 - there is but one file
        *,
        start: int = 0,
        end: int | None = None,
    ) -> Iterator[Iterator[bytes]]:
        remote = self._remote
        wanted = Wanted(
            what=remote.url, size=remote.size, start=start, end=remote.size if end is None else end
        )
        headers = wanted.headers
        if headers and remote.validator:
            headers["If-Range"] = remote.validator
        with self._door.follow(remote.url, headers=headers, secret=_secret(self._door, remote.url)) as answer:
            if answer.status in (200, 206) and _validator(answer) != remote.validator:
                raise DigestMismatch(
                    what=f"{remote.url}, changed on the server,",
                    expected=str(remote.validator),
                    actual=str(_validator(answer)),
                )
            body = body_of(answer, wanted)
            if not wanted.is_all and not is_ranged(answer):
                self.is_parallel = False
            yield body


def _validator(answer: Answer) -> str | None:
    """Weak ETags say that two bodies mean the same, not that they are the same bytes."""
    etag = answer.headers.get("ETag", "").strip()
    if etag.startswith('"'):
        return etag[:500]
    return answer.headers.get("Last-Modified", "").strip()[:100] or None


def _secret(door: Door, url: str) -> str | None:
    return door.outbound.authorization(door.outbound.check(url))
