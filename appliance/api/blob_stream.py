"""Bytes of a blob on their way out: flat memory whatever its size, and a place among a bounded number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance import log
from appliance.api.byte_range import ByteRange
from appliance.api.exchange import Exchange

_log = log.logger("api")

CHUNK_BYTES: Final = 256 * 1024
"""Waitress holds as much again for a reader that is slow."""


class BlobStream:
    """A part of a file in chunks. Owned by the waitress thread that iterates and closes it; a file that is
    removed meanwhile is still sent to its end. Closing it gives its place back.
    """

    def __init__(
        self, path: Path, span: ByteRange, exchange: Exchange, places: threading.BoundedSemaphore
    ) -> None:
        self._span = span
        self._exchange = exchange
        self._places: threading.BoundedSemaphore | None = places
        self._file = path.open("rb", buffering=0)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._span.start)
        left = self._span.end - self._span.start
        while left > 0:
            chunk = self._read(min(CHUNK_BYTES, left))
            if not chunk:
                return  # waitress closes the connection short of the promised length
            left -= len(chunk)
            yield chunk

    def _read(self, size: int) -> bytes:
        """Empty: the file has become shorter, or the disk fails."""
        try:
            return self._file.read(size)
        except OSError as error:
            _log.error("blob_read_failed", request_id=self._exchange.request_id, exc_info=error)
            return b""

    def close(self) -> None:
        """Called by waitress in every case. Idempotent."""
        self._file.close()
        places, self._places = self._places, None
        if places is not None:
            places.release()
        self._exchange.end()
