"""Streams that are kept, without a socket: a client that loses its connection wherever a test wants."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from appliance.api.exchange import Exchange
from appliance.api.resuming.kept_stream import Reader
from appliance.api.resuming.kept_streams import KeptStreams, ResumeLimits
from appliance.api.sse import DONE, EventStream
from appliance.wire.messages import Delta, Generate, TextPrompt
from tests.fakes.fake_inference import FakeInference, Line, text_of

OWNER = "owner"
_ANY = Generate(id=0, prompt=TextPrompt(text="x"))


class Writer:
    """Two events in the first write, then one for each delta."""

    def opening(self) -> bytes:
        return b"event: start\ndata: 1\n\nevent: ping\ndata: 2\n\n"

    def chunk(self, delta: Delta) -> bytes:
        return f"data: {delta.text}\n\n".encode() if delta.text else b""

    def closing(self) -> bytes:
        return b""


def events_of(pieces: Sequence[str]) -> list[bytes]:
    """All that a stream of `pieces` is to say, numbered."""
    told = [
        b"event: start\ndata: 1",
        b"event: ping\ndata: 2",
        *(f"data: {piece}".encode() for piece in pieces),
    ]
    return [b"id: %d\n%b\n\n" % (at, event) for at, event in enumerate([*told, DONE.strip()], 1)]


class Kept:
    """A registry, and streams in it."""

    def __init__(self, **limits: Any) -> None:
        self.streams = KeptStreams(ResumeLimits(**limits))
        self.inference = FakeInference()
        self.ended: list[str] = []

    def stream(self, lines: Sequence[Line], request_id: str = "r", *, timeout_s: float = 60) -> EventStream:
        exchange = Exchange(request_id=request_id, method="POST", gone=lambda: False, observer=None)
        exchange.on_end = lambda: self.ended.append(request_id)
        self.inference.script = lambda _: lines
        generation = self.inference.generate("fake/model:q4", _ANY, asker=exchange.asker())
        return EventStream(generation, Writer(), exchange, heartbeat_s=10, timeout_s=timeout_s)

    def keep(
        self, lines: Sequence[Line], request_id: str = "r", *, owner: str = OWNER, **more: Any
    ) -> Reader:
        kept = self.streams.keep(owner, self.stream(lines, request_id, **more), lambda: False)
        assert isinstance(kept, Reader), kept
        return kept

    def resume(self, after: int = 0, request_id: str = "r", *, owner: str = OWNER) -> Reader | None:
        return self.streams.resume(owner, request_id, after, lambda: False, on_close=lambda: None)


@contextmanager
def kept(**limits: Any) -> Iterator[Kept]:
    made = Kept(**limits)
    try:
        yield made
    finally:
        made.streams.close()
        assert made.inference.running == 0
        assert len(made.streams) == 0


class Client:
    """What a client has received, over all its connections."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._partial = b""

    @property
    def last_id(self) -> int:
        found = re.match(rb"id: (\d+)\n", self.events[-1]) if self.events else None
        return int(found[1]) if found else 0

    def read(
        self, reader: Reader, *, most_bytes: int | None = None, on_data: Callable[[], object] = bool
    ) -> bool:
        """Until the end, or until the connection is lost behind `most_bytes`: whether it was the end. What
        has not come whole is thrown away. `on_data`: called behind each piece.
        """
        left = most_bytes
        self._partial = b""
        try:
            for data in reader:
                self._take(data if left is None else data[:left])
                on_data()
                left = None if left is None else left - len(data)
                if left is not None and left <= 0:
                    return False
        finally:
            reader.close()
        return True

    def _take(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n\n")
        self.events += [event + b"\n\n" for event in whole if not event.startswith(b":")]


def eventually(condition: Callable[[], bool]) -> None:
    """Another thread makes it true."""
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        threading.Event().wait(0.002)


def words(count: int) -> list[str]:
    return [f"w{number}" for number in range(count)]


def lines_of(pieces: Sequence[str]) -> list[Line]:
    return text_of(*pieces)
