"""Clients that hold a server up: headers and bodies byte by byte, sockets without a word, answers unread."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.fakes.fake_inference import MODEL

Address = tuple[str, int]
_PAUSE_S: Final = 0.5
"""Between two bytes of one client."""
_SOURCES: Final = 40
"""Loopback addresses that they come from: no limit of one address keeps them away."""
_HEADER: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


def slow_header(number: int) -> tuple[bytes, bytes]:
    return _HEADER, f"X-{number}: ".encode() + b"a" * 4000


def slow_body(_number: int) -> tuple[bytes, bytes]:
    return _HEADER + b"Content-Length: 4000\r\n\r\n", b"a" * 4000


def slow_large_body(_number: int) -> tuple[bytes, bytes]:
    """Larger than a buffer of the proxy: it has to be passed on before it is whole."""
    return _HEADER + b"Content-Length: 100000\r\n\r\n" + b"a" * 40_000, b"a" * 60_000


def idle(_number: int) -> tuple[bytes, bytes]:
    return b"", b""


def unread(_number: int) -> tuple[bytes, bytes]:
    """A stream without an end that nobody reads."""
    body = json.dumps(
        {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "endless"}]}
    ).encode()
    return _HEADER + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, b""


@dataclass
class _Client:
    socket: socket.socket
    rest: bytes
    next_at_s: float


@dataclass
class SlowClients:
    """So many of each kind, kept up: who is cut off comes again. One thread."""

    address: Address
    kinds: dict[Callable[[int], tuple[bytes, bytes]], int]
    connected: int = 0
    """Connections made so far."""
    _clients: dict[int, tuple[_Client, Callable[[int], tuple[bytes, bytes]]]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        for kind, count in self.kinds.items():
            for _ in range(count):
                self._connect(kind)
        self._thread = threading.Thread(target=self._run, name="slow-clients")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for client, _kind in self._clients.values():
            client.socket.close()
        self._selector.close()

    @property
    def open(self) -> int:
        return len(self._clients)

    def _connect(self, kind: Callable[[int], tuple[bytes, bytes]]) -> None:
        number = self.connected
        self.connected += 1
        connection = socket.socket()
        try:
            if kind is unread:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.bind((f"127.0.1.{1 + number % _SOURCES}", 0))
            connection.settimeout(5)
            connection.connect(self.address)
            first, rest = kind(number)
            connection.sendall(first)
            connection.setblocking(False)
        except OSError:
            connection.close()
            return
        client = _Client(connection, rest, time.monotonic() + _PAUSE_S)
        self._clients[connection.fileno()] = (client, kind)
        if kind is not unread:
            self._selector.register(connection, selectors.EVENT_READ)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            for key, _ in self._selector.select(0):
                self._readable(key.fd)
            now_s = time.monotonic()
            for number, (client, _kind) in list(self._clients.items()):
                if client.rest and now_s >= client.next_at_s:
                    self._send_one(number, client, now_s)

    def _readable(self, number: int) -> None:
        """An answer (which is thrown away), or the end."""
        client, kind = self._clients[number]
        try:
            ended = not client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._again(number, kind)

    def _send_one(self, number: int, client: _Client, now_s: float) -> None:
        try:
            client.socket.send(client.rest[:1])
            client.rest = client.rest[1:]
            client.next_at_s = now_s + _PAUSE_S
        except BlockingIOError:
            return
        except OSError:
            self._again(number, self._clients[number][1])

    def _again(self, number: int, kind: Any) -> None:
        client, _ = self._clients.pop(number)
        if kind is not unread:
            self._selector.unregister(client.socket)
        client.socket.close()
        self._connect(kind)
