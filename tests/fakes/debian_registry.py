"""The real registry of Debian (package `docker-registry`), one process on loopback, and a slow wire to it."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:{port}, secret: of-the-tests}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DebianRegistry:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.log = directory / "registry.log"
        self._config = directory / "registry.yml"
        self._config.write_text(_CONFIG.format(root=directory / "registry", port=self.port))

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", self._config], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"docker-registry did not start: {self.log.read_text()[-1000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/v2/", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class SlowWire:
    """Passes connections on to a port, and counts and slows what comes back. Owned by the test."""

    def __init__(self, port: int, *, bytes_per_s: int) -> None:
        self._to = port
        self._rate = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.bytes = 0
        """Sent to clients so far."""
        self.sent = 0
        """Sent by clients so far."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="slow-wire")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in list(self._threads):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            server = socket.create_connection(("127.0.0.1", self._to))
            for ends in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pass, args=ends, name="slow-wire")
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket, is_slow: bool) -> None:
        with source:
            while not self._stopping.is_set():
                try:
                    if not select.select([source], [], [], 0.2)[0]:
                        continue
                    content = source.recv(64 * 1024)
                    if is_slow:
                        self._wait_for(len(content))
                    else:
                        with self._lock:
                            self.sent += len(content)
                    target.sendall(content)
                except (OSError, ValueError):  # the other direction has closed it
                    break
                if not content:
                    break
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _wait_for(self, size: int) -> None:
        """One rate over all connections."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            self.bytes += size
            wait = self._free_at - now
        self._stopping.wait(wait)
