"""What ends TLS in front of a door: every connection's bytes go on in the clear, and back."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

from tests.fakes.tls import server_context


class TlsFront:
    """Owned by the test; each connection has a thread, and `__exit__` waits for all. Its name is
    `localhost`.
    """

    def __init__(self, target: tuple[str, int], pem: Path) -> None:
        self._target = target
        self._context = server_context(pem)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, name="tls-front")]
        self.url = f"https://localhost:{self._socket.getsockname()[1]}"

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
                thread = threading.Thread(target=self._serve, args=(client,), name="tls-connection")
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        with (
            contextlib.suppress(OSError),
            plain,
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(self._target, timeout=5) as server,
        ):
            back = threading.Thread(target=_copied, args=(server, client), name="tls-back")
            self._threads.append(back)
            back.start()
            _copied(client, server)
            back.join(10)


def _copied(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        if not isinstance(target, ssl.SSLSocket):
            target.shutdown(socket.SHUT_WR)
        else:
            target.unwrap()
