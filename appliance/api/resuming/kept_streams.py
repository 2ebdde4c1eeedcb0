"""All streams that are kept, by who asked for them and the id of their request; and the bounds over them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance import log
from appliance.api.resuming.kept_stream import KeptStream, Reader
from appliance.api.sse import EventStream
from appliance.api.visible import shown
from appliance.errors import RequestIdInUse, RequestNotFound

_log = log.logger("api")

_JOIN_S: Final = 5.0
_MAX_ID_CHARS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeLimits:
    """From the configuration."""

    keep_s: float = 30.0
    """How long a stream goes on, and is kept, without a reader; 0: none is kept."""
    bytes_per_stream: int = 1024 * 1024
    streams: int = 64
    streams_per_owner: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What all of them are, at one moment."""

    running: int
    over: int
    """Complete, and kept for who has not got all of it."""
    size_bytes: int


class KeptStreams:
    """Any thread. Owned by who made it, and closed by him."""

    def __init__(self, limits: ResumeLimits = ResumeLimits()) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._streams: dict[tuple[str, str], KeptStream] = {}
        """By owner and request id, in the order in which they came."""
        self._leaving: set[KeptStream] = set()
        """Not to be found any more; their threads end."""
        self._is_closed = False

    def require_free(self, owner: str, request_id: str) -> None:
        """Raises RequestIdInUse."""
        with self._lock:
            if (owner, request_id) in self._streams:
                raise RequestIdInUse(request_id=request_id)

    def keep(self, owner: str, stream: EventStream, gone: Callable[[], bool]) -> Reader | str:
        """The body of its answer; or, in words, why it cannot be kept. `gone`: of its connection."""
        key = (owner, stream.exchange.request_id)
        with self._lock:
            refusal = self._refusal(key)
            if refusal is not None:
                return refusal
            kept = KeptStream(
                stream,
                keep_s=self.limits.keep_s,
                limit_bytes=self.limits.bytes_per_stream,
                on_end=lambda ended: self._forget(key, ended),
            )
            self._streams[key] = kept
            return kept.start(gone)

    def resume(
        self,
        owner: str,
        request_id: str,
        after: int,
        gone: Callable[[], bool],
        *,
        on_close: Callable[[], None],
    ) -> Reader | None:
        """The events behind `after`. None: there are no more. Raises RequestNotFound and as
        `KeptStream.attach`.
        """
        with self._lock:
            kept = self._streams.get((owner, request_id))
        if kept is None:
            raise RequestNotFound(request_id=shown(request_id, _MAX_ID_CHARS))
        return kept.attach(after, gone, on_close=on_close)

    def held(self) -> Held:
        with self._lock:
            kept, leaving = [*self._streams.values()], [*self._leaving]
        over = sum(stream.is_over for stream in kept)
        return Held(
            running=len(kept) - over,
            over=over,
            size_bytes=sum(stream.size_bytes for stream in (*kept, *leaving)),
        )

    def close(self) -> None:
        """Give up all, and join their threads. Idempotent."""
        with self._lock:
            self._is_closed = True
            kept = [*self._streams.values(), *self._leaving]
        for stream in kept:
            stream.discard()
        for stream in kept:
            if not stream.join(_JOIN_S):
                _log.error("stream_left_behind", request_id=stream.request_id)

    def __len__(self) -> int:
        return len(self._streams)

    def _refusal(self, key: tuple[str, str]) -> str | None:
        """Finished ones of the same owner give way, the oldest first."""
        if self._is_closed:
            return "the Outpost is stopping"
        if key in self._streams:
            return "a stream with this id is kept already"
        owner = key[0]
        own = [found for found in self._streams if found[0] == owner]
        if len(own) < self.limits.streams_per_owner and len(self._streams) < self.limits.streams:
            return None
        oldest = next((found for found in own if self._streams[found].is_over), None)
        if oldest is not None:
            kept = self._streams.pop(oldest)
            self._leaving.add(kept)
            kept.discard()
            return None
        if len(own) >= self.limits.streams_per_owner:
            return f"{len(own)} streams of yours are kept already"
        return f"{len(self._streams)} streams are kept already"

    def _forget(self, key: tuple[str, str], ended: KeptStream) -> None:
        with self._lock:
            self._leaving.discard(ended)
            if self._streams.get(key) is ended:
                del self._streams[key]
