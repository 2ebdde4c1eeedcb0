"""A proxy on this machine, as one that ends TLS would stand there: real sockets, one request a connection.

client ─► 127.0.0.1:PORT ─► (adds a header, or none) ─► from `source` ─► the daemon's door
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class ForwardingProxy:
    """Owned by the test; each connection has a thread, and `__exit__` waits for all."""

    def __init__(
        self, target: tuple[str, int], *, header: str | None = None, source: str = "127.0.0.1"
    ) -> None:
        """`header`: what it adds to each request, whole; None: nothing, as in TCP mode."""
        self._target = target
        self._header = header
        self._source = source
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._socket.accept()
                thread = threading.Thread(target=self._serve, args=(client,), name="proxy-request")
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target, source_address=(self._source, 0)) as server:
            client.settimeout(5)
            server.settimeout(5)
            server.sendall(self._told(client))
            with contextlib.suppress(OSError):
                while chunk := server.recv(65536):
                    client.sendall(chunk)

    def _told(self, client: socket.socket) -> bytes:
        """The whole request, so that nothing is left to forward; the connection ends with its answer."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        lengths = [
            int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")
        ]
        while len(body) < sum(lengths):
            body += client.recv(65536)
        added = [self._header.encode()] if self._header else []
        return b"\r\n".join([*lines, *added, b"Connection: close"]) + b"\r\n\r\n" + body
