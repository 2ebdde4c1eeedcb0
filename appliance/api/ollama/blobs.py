"""HEAD and POST /api/blobs/{digest}: files that a later /api/create names.

A body is written to the store while it comes in (`api/server/upload_stream.py`), whatever its size, and
becomes a blob when its digest is right. What nobody has named within the grace, the store collects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

import falcon

from appliance.api.calls import Limits
from appliance.api.exchange import exchange_of
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.errors import InvalidReference, InvalidRequest, NotAllowed, Overloaded
from appliance.store.digest import Digest, parse_digest
from appliance.store.verbs import StoreVerbs

MAX_UPLOADS: Final = 4
"""At once: each holds a thread and writes to a disk that models are read from."""
MIN_BYTES_PER_S: Final = 16 * 1024
_GRACE_S: Final = 60.0
_RETRY_S: Final = 5.0
_CHUNK_BYTES: Final = 1 << 20
_PATH: Final = {"digest": "sha256: (or sha256-) and 64 hex digits."}


class Blobs:
    """Any thread; the semaphore is all it owns."""

    OPERATIONS: ClassVar[Operations] = {
        "HEAD": Operation(
            summary="Whether a file is there",
            tag=Tag.OLLAMA,
            path=_PATH,
            errors=(400, 404),
        ),
        "POST": Operation(
            summary="Send a file that a later create names",
            tag=Tag.OLLAMA,
            body=bytes,
            body_media_type="application/octet-stream",
            status=201,
            path=_PATH,
            errors=(400, 500, 503, 507),
            about="200 where it is there already. What nobody has named within the grace is collected.",
        ),
    }

    def __init__(self, store: StoreVerbs, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._places = threading.BoundedSemaphore(MAX_UPLOADS)

    def on_head(self, _req: falcon.Request, resp: falcon.Response, digest: str) -> None:
        if not self._store.has_blob(_digest(digest)):
            resp.status = falcon.HTTP_404

    def on_post(self, req: falcon.Request, resp: falcon.Response, digest: str) -> None:
        exchange, wanted = exchange_of(req), _digest(digest)
        if exchange.grant is not None and exchange.grant.models:
            raise NotAllowed(reason="this key is for some models only; files of new ones need a key for all")
        if self._store.has_blob(wanted):
            return
        if not self._places.acquire(blocking=False):
            raise Overloaded(waiting=MAX_UPLOADS, limit=MAX_UPLOADS, retry_after_s=_RETRY_S)
        try:
            # By `stream`, since a body in chunks has no length that `bounded_stream` could go by.
            chunks = paced(lambda: req.stream.read(_CHUNK_BYTES))
            self._store.take_blob(wanted, chunks, size=req.content_length)
        finally:
            self._places.release()
        exchange.model = None
        resp.status = falcon.HTTP_201


def paced(read: Callable[[], bytes], *, clock: Callable[[], float] = time.monotonic) -> Iterator[bytes]:
    """What `read` gives until it is empty. Raises InvalidRequest when it comes too slowly to deserve one of a
    few places.
    """
    began_s, come = clock(), 0
    while chunk := read():
        come += len(chunk)
        if come < MIN_BYTES_PER_S * (clock() - began_s - _GRACE_S):
            raise InvalidRequest(reason=f"the body comes at less than {MIN_BYTES_PER_S} bytes per second")
        yield chunk


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text.replace("sha256-", "sha256:", 1))
    except InvalidReference as error:
        raise InvalidRequest(reason="a digest is sha256: and 64 hex digits", param="digest") from error
