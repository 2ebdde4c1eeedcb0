"""The door on a real socket over a fake Inference, and raw sockets to knock at it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from appliance.api.app import create_app
from appliance.api.server import Server, ServerLimits, serve
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_inference import MODEL, FakeInference

PROMPT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


@dataclass(frozen=True)
class Door:
    inference: FakeInference
    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    def knock(self, data: bytes, *, timeout_s: float = 5.0) -> socket.socket:
        """A connection over which `data` was sent."""
        connection = socket.create_connection(self.server.address, timeout=timeout_s)
        connection.sendall(data)
        return connection

    def ask(self, data: bytes) -> bytes:
        """All that comes back until the connection is closed or silent for a second."""
        with self.knock(data, timeout_s=1.0) as connection:
            return read_all(connection)


@contextmanager
def opened(
    inference: FakeInference | None = None, *, server_limits: ServerLimits | None = None, **settings: Any
) -> Iterator[Door]:
    inference = inference or FakeInference()
    app = create_app(parts_of(inference, **settings))
    with serve(app, listen=("127.0.0.1", 0), limits=server_limits or ServerLimits()) as server:
        yield Door(inference, server)


def chat_request(*, close: bool = True, **fields: Any) -> bytes:
    body = json.dumps({**PROMPT, **fields}).encode()
    return http("POST", "/v1/chat/completions", body, {"Connection": "close"} if close else {})


def http(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    told = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    return received


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        chunk = connection.recv(65536)
        assert chunk, f"closed before {mark!r}: {received!r}"
        received += chunk
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> float:
    """Seconds until `condition` held. Fails the test after `timeout_s`."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it did not come about in time"
        time.sleep(0.005)
    return time.monotonic() - started_s


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work` with 0 … count-1 at once and wait for all. Raises the first fault."""
    faults: list[BaseException] = []

    def top(number: int) -> None:
        try:
            work(number)
        except BaseException as fault:  # noqa: BLE001 - thread top; told to the test below
            faults.append(fault)

    threads = [
        threading.Thread(target=top, args=(number,), name=f"client-{number}") for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if faults:
        raise faults[0]
