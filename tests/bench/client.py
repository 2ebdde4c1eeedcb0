"""The load generator: many streams over raw sockets in one thread, as cheap as Python allows.

It shares the machine with the server it measures. While the load runs it only stamps and keeps the received
bytes; HTTP, SSE and JSON are taken apart afterwards (`transcript.py`). Every server gets the same bytes.

Run as a program of its own (`load.py` has the protocol), it fails loudly: a status other than 200, an error
event, a stream without its end, or the time limit print one line on standard error and exit 1.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

from tests.bench.load import Ask, BenchError, Load, Report, decode_load, encode
from tests.bench.transcript import Transcript, read_answer

_RECEIVE_BYTES = 65536
_END_OF_STREAM = b"data: [DONE]"
_EVENT = b"data: "


class _Stream:
    """One request under way. Owned by the only thread."""

    def __init__(self, ask: Ask, load: Load) -> None:
        self.ask = ask
        self.transcript = Transcript()
        self.socket: socket.socket | None = None
        self.events = 0
        """Roughly: an event split between two reads is not counted. Only steers other requests, never
        measured.
        """
        self.ended = False
        body = json.dumps(ask.body).encode()
        self._request = (
            f"POST {load.path} HTTP/1.1\r\nHost: {load.host}:{load.port}\r\n"
            f"Content-Type: application/json\r\nAccept: text/event-stream\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body
        self._tail = b""

    def send(self, address: tuple[str, int], now: float) -> socket.socket:
        """Connect and send; blocking, but loopback takes both at once."""
        self.transcript.sent_s = now
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self._request)
        self.socket.setblocking(False)
        return self.socket

    def receive(self, now: float) -> None:
        assert self.socket is not None
        chunk = self.socket.recv(_RECEIVE_BYTES)
        if not chunk:
            self.ended = True
            return
        self.transcript.chunks.append((now, chunk))
        self.events += chunk.count(_EVENT)
        self._tail = (self._tail + chunk)[-64:]
        self.ended = _END_OF_STREAM in self._tail


class _Run:
    """All streams of one load. Owned by the only thread."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._streams = [_Stream(ask, load) for ask in load.asks]
        self._selector = selectors.DefaultSelector()
        self._started = time.monotonic()

    def run(self) -> list[Transcript]:
        while not all(stream.ended for stream in self._streams):
            now = self._now()
            if now > self._load.time_limit_s:
                waiting = sum(not stream.ended for stream in self._streams)
                raise BenchError(f"{waiting} of {len(self._streams)} streams did not end in {now:.0f} s")
            self._send_due(now)
            for key, _ in self._selector.select(timeout=self._next_due_s()):
                self._receive(key.data)
            self._hang_up()
        return [stream.transcript for stream in self._streams]

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _is_due(self, index: int, now: float) -> bool:
        stream = self._streams[index]
        waits_for = stream.ask.starts_after_events
        if waits_for and self._streams[index - 1].events < waits_for:
            return False
        return stream.socket is None and not stream.ended and now >= stream.ask.start_s

    def _send_due(self, now: float) -> None:
        for index, stream in enumerate(self._streams):
            if self._is_due(index, now):
                sock = stream.send((self._load.host, self._load.port), self._now())
                self._selector.register(sock, selectors.EVENT_READ, stream)

    def _next_due_s(self) -> float:
        unsent = [
            stream.ask.start_s for stream in self._streams if stream.socket is None and not stream.ended
        ]
        return max(0.0, min(unsent) - self._now()) if unsent and min(unsent) > self._now() else 0.5

    def _receive(self, stream: _Stream) -> None:
        stream.receive(self._now())
        if stream.ended:
            self._close(stream)

    def _hang_up(self) -> None:
        for stream, following in zip(self._streams, self._streams[1:], strict=False):
            if stream.ask.close_with_next and following.events and not stream.ended:
                stream.ended = stream.transcript.cut = True
                self._close(stream)

    def _close(self, stream: _Stream) -> None:
        stream.transcript.end_s = self._now()
        if stream.socket is not None:
            self._selector.unregister(stream.socket)
            stream.socket.close()


def measure(load: Load) -> Report:
    """Run the load to its end. Raises BenchError when any stream fails."""
    cpu_before_s = time.process_time()
    transcripts = _Run(load).run()
    cpu_s = time.process_time() - cpu_before_s
    return Report(answers=[read_answer(transcript) for transcript in transcripts], client_cpu_s=cpu_s)


def main() -> int:
    try:
        report = measure(decode_load(sys.stdin.buffer.read()))
    except (BenchError, OSError) as error:
        print(f"load generator: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(encode(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
