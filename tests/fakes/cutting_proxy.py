"""A TCP proxy whose connections break: each answer is cut behind a given number of bytes, with a reset."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_JOIN_S = 5.0


class CuttingProxy:
    """`most_bytes()` is asked for each connection; None: this one is let through. Owned by the test."""

    def __init__(self, upstream: tuple[str, int], most_bytes: Callable[[], int | None]) -> None:
        self.cuts = 0
        self._upstream = upstream
        self._most_bytes = most_bytes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._open: list[socket.socket] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()
        return host, port

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream, timeout=10)
            self._open += [client, server]
            for work in (self._ask, self._answer):
                thread = threading.Thread(target=work, args=(client, server), name="proxy", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        left = self._most_bytes()
        with contextlib.suppress(OSError):
            while data := server.recv(65536 if left is None else min(left, 65536)):
                client.sendall(data)
                left = None if left is None else left - len(data)
                if left == 0:
                    self.cuts += 1
                    break
        for one in (client, server):
            with contextlib.suppress(OSError):
                if left == 0:  # a reset, as of a station that is gone
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()
