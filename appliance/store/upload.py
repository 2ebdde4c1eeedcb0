"""A blob that a client sends in one body: written aside while it comes, hashed on the way, and a blob when
its digest is right. What breaks off is gone: the client has the whole of it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from appliance.errors import DigestMismatch, InvalidRequest
from appliance.store.content import Progress, Report
from appliance.store.descriptor import Descriptor
from appliance.store.digest import Digest
from appliance.store.ingest import READ_ONLY
from appliance.store.layout import Layout
from appliance.store.space import Room

STEP_BYTES: Final = 64 << 20
"""How much room is asked for at a time where nobody says how much comes."""
_SYNC_BYTES: Final = 128 << 20
"""After so many bytes they are made durable, so that the last sync is a short one."""
MEDIA_TYPE: Final = "application/octet-stream"


def receive(
    layout: Layout, digest: Digest, chunks: Iterable[bytes], *, size: int | None, report: Report
) -> Descriptor:
    """Durable when it returns. `size`: as announced. `report` is called with each chunk, and may raise.
    Raises DigestMismatch, InvalidRequest for a body that ends early, InsufficientSpace, StoreFault.
    """
    temporary = layout.places.temporary(f"upload-{secrets.token_hex(8)}")
    with layout.space.room() as room:
        if size is not None:
            room.require(size)
        try:
            written = _write(layout, temporary, digest, chunks, size=size, room=room, report=report)
            descriptor = Descriptor(media_type=MEDIA_TYPE, digest=digest, size=written)
            layout.settle_temporary(temporary, descriptor)
        finally:
            layout.files.unlink(temporary)
    return descriptor


def _write(
    layout: Layout,
    path: Path,
    digest: Digest,
    chunks: Iterable[bytes],
    *,
    size: int | None,
    room: Room,
    report: Report,
) -> int:
    files, hashed = layout.files, hashlib.sha256()
    promised, written, synced = size or 0, 0, 0
    news = Progress(status="receiving", digest=digest, total_bytes=size)
    descriptor = files.create(path)
    try:
        for chunk in chunks:
            report(news)
            if written + len(chunk) > promised:
                promised += max(STEP_BYTES, len(chunk))
                room.require(promised - written)
            files.pwrite(descriptor, chunk, written)
            hashed.update(chunk)
            written += len(chunk)
            room.keep(promised - written)
            if written - synced >= _SYNC_BYTES:
                files.fdatasync(descriptor)
                synced = written
        if size is not None and written != size:
            raise InvalidRequest(reason=f"the body ended after {written} of {size} bytes")
        if (actual := f"sha256:{hashed.hexdigest()}") != digest:
            raise DigestMismatch(what="the body", expected=digest, actual=actual)
        files.chmod(descriptor, READ_ONLY)
        files.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written
