"""The real daemon as installed, started in a directory of its own: for end-to-end tests and benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import psutil

from tests.fakes.memory_bound import MemoryBound

STARTER: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / (
    "outpost/models/SmolLM2-135M-Instruct-Q4_1.gguf"
)
"""The starter model where `make run` puts it."""
STARTER_NAME: Final = "smollm2"

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 15.0


class DaemonFailed(Exception):
    """The daemon did not start or stop; the message ends with its log."""


class Daemon:
    """One daemon process and everything it wrote, below `directory`. Owned by the thread that starts it."""

    def __init__(
        self,
        directory: Path,
        *,
        models: Mapping[str, Path],
        config: str = "",
        bound: MemoryBound | None = None,
    ) -> None:
        """`config`: TOML text of further settings. `bound`: on the memory of it and all its children."""
        self._bound = bound
        self._directory = directory
        self._models = models
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        """Without a slash at the end; set by `start`."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def data(self) -> Path:
        return self._directory / "data"

    @property
    def log_path(self) -> Path:
        return self._directory / "daemon.log"

    @property
    def command(self) -> list[str]:
        outpost = Path(sys.executable).parent / "outpost"
        command = [str(outpost), "serve", "--listen", "127.0.0.1:0", "--data", str(self.data)]
        for name, path in self._models.items():
            command += ["--model", f"{name}={path}"]
        bound = self._bound.command if self._bound is not None else []
        return [*bound, *command, "--config", str(self._config_path)]

    @property
    def _command_on_board(self) -> list[str]:
        """On a simulated one; the models are in the configuration."""
        assert self._bound is not None
        program = Path(__file__).parent / "fakes" / "daemon_on_board.py"
        places = (self._bound.sysroot, self._config_path, self.data)
        return [sys.executable, str(program), *map(str, places)]

    @property
    def _config_path(self) -> Path:
        return self._directory / "outpost.toml"

    @property
    def _is_simulated(self) -> bool:
        return self._bound is not None and self._bound.sysroot != Path("/")

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None
        return parts.hostname, parts.port

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when the daemon serves. Raises DaemonFailed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        named = "".join(f'"{name}" = "{path}"\n' for name, path in self._models.items())
        models = f"\n[models]\n{named}" if self._is_simulated else ""
        self._config_path.write_text(self._config + models)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command_on_board if self._is_simulated else self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if self._bound is not None:
            self._bound.started(self._process.pid)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._serves():
            if self._process.poll() is not None:
                raise self._failed(f"ended with {self._process.returncode} before it served")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failed(f"did not serve within {_START_TIMEOUT_S:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """As systemd stops it. Raises DaemonFailed when it has to be killed."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not stop within {_STOP_TIMEOUT_S:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """SIGKILL, to it alone: its runners must end by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def runners(self) -> list[psutil.Process]:
        """Its runner processes, oldest first."""
        return sorted(self.process().children(), key=lambda child: child.create_time())

    def get(self, path: str) -> str:
        """The body of `GET path`, whatever the status."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def running_requests(self) -> int:
        """Requests that hold a lease on any model, as `/healthz` tells it."""
        return sum(runner["running"] for runner in json.loads(self.get("/healthz"))["runners"])

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _serves(self) -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            address = json.loads((self.data / "daemon.json").read_text())["address"]
            self.url = (address if "://" in address else f"http://{address}").rstrip("/")
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        return False

    def _failed(self, what: str) -> DaemonFailed:
        return DaemonFailed(f"the daemon {what}; the end of its log:\n{self.log()[-3000:]}")
