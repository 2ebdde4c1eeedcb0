"""The real HAProxy with the configuration that is shipped, before a door in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, Self

import psutil

from tests.fakes.debian_registry import free_port

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = ROOT / "configs/haproxy/haproxy.cfg"
_ADMIN_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_START_S: Final = 20.0


class DoorProcess:
    """`tests.fakes.door_process`, and what it told of requests."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "door.sock"
        self.requests: deque[str] = deque(maxlen=100_000)
        """`METHOD ROUTE STATUS` of each that reached it and has ended."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.door_process", str(self.socket)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        host, port = json.loads(self.process.stdout.readline())
        self.address = (str(host), int(port))
        self._reader = threading.Thread(target=self._read, name="door-lines")
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def rss_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.requests.append(line.strip())


class HAProxy:
    """One process; owned by the test."""

    def __init__(self, door: DoorProcess, directory: Path, **environment: str) -> None:
        self.address = ("127.0.0.1", free_port())
        self.log = directory / "haproxy.log"
        self._environment = {
            **os.environ,
            "OUTPOST_BIND": f"127.0.0.1:{self.address[1]}",
            "OUTPOST_SOCKET": str(door.socket),
            **environment,
        }

    def __enter__(self) -> Self:
        program = shutil.which("haproxy", path=_ADMIN_PATH)
        assert program is not None, "`make test` installs it"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-db", "-f", str(CONFIG)], env=self._environment, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + _START_S
        while not self._is_open():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s, self.log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _is_open(self) -> bool:
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True
