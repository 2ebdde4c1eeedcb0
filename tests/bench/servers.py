"""The servers under test: how each is started, with which flags, and how much memory it holds.

All three get two threads, the same model file and a context of the same size. The flags are those a competent
user of each would set; the report prints them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from tests.bench.load import BenchError
from tests.bench.peers import Peers
from tests.daemon import STARTER, STARTER_NAME, Daemon

N_THREADS: Final = 2
_READY_TIMEOUT_S: Final = 120.0
OUTPOST: Final = "outpost"
LLAMA_SERVER: Final = "llama-server"
EXAMPLE_SERVER: Final = "examples/server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the workload needs: the same for every server."""

    n_seq_max: int
    n_ctx_seq: int

    @property
    def n_ctx(self) -> int:
        """Tokens over all sequences."""
        return self.n_seq_max * self.n_ctx_seq


SINGLE: Final = Profile(n_seq_max=1, n_ctx_seq=4096)
SMALL: Final = Profile(n_seq_max=8, n_ctx_seq=1024)
CROWD: Final = Profile(n_seq_max=50, n_ctx_seq=1024)
LONG: Final = Profile(n_seq_max=2, n_ctx_seq=8192)
"""SmolLM2 was trained on 8,192 tokens."""


class Server(Protocol):
    """One server process that serves `/v1/chat/completions`."""

    @property
    def label(self) -> str: ...

    @property
    def command(self) -> Sequence[str]: ...

    def start(self) -> tuple[str, int]:
        """Start and wait until it serves; where it listens."""

    def stop(self) -> None: ...

    def resting(self) -> AbstractContextManager[None]:
        """While another server is measured."""

    def inference_rss_bytes(self) -> int:
        """Resident memory of the process that computes."""

    def log(self) -> str: ...


class Outpost:
    """Our daemon, as installed."""

    label = OUTPOST

    def __init__(self, directory: Path, profile: Profile) -> None:
        settings = {"n_seq_max": profile.n_seq_max, "n_ctx_seq": profile.n_ctx_seq, "kv_cells": profile.n_ctx}
        lines = [f"{key} = {value}" for key, value in {**settings, "n_threads": N_THREADS}.items()]
        config = "\n".join(["[engine]", *lines, "[queue]", f"max_running = {max(64, profile.n_seq_max)}", ""])
        self.daemon = Daemon(directory, models={STARTER_NAME: STARTER}, config=config)

    @property
    def command(self) -> Sequence[str]:
        return self.daemon.command

    def start(self) -> tuple[str, int]:
        self.daemon.start()
        return self.daemon.address

    def stop(self) -> None:
        self.daemon.stop()

    def resting(self) -> AbstractContextManager[None]:
        """At rest our daemon and runner are truly idle; they need not be stopped."""
        return nullcontext()

    def inference_rss_bytes(self) -> int:
        runners = self.daemon.runners()
        if len(runners) != 1:
            raise BenchError(f"expected one runner, found {len(runners)}")
        return int(runners[0].memory_info().rss)

    def log(self) -> str:
        return self.daemon.log()


class PeerServer:
    """A server of somebody else: a command, ready when `GET /v1/models` answers 200."""

    def __init__(
        self, label: str, directory: Path, command: list[str], port: int, env: dict[str, str]
    ) -> None:
        self.label = label
        self.command = command
        self._port = port
        self._env = {**os.environ, **env}
        self._log_path = directory / f"{label.replace('/', '-')}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> tuple[str, int]:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._env
            )
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BenchError(f"{self.label} did not start:\n{self.log()[-3000:]}")
            time.sleep(0.1)
        return "127.0.0.1", self._port

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Stopped by signal: what an idle peer still does (spinning, polling) must not cost the others."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def inference_rss_bytes(self) -> int:
        assert self._process is not None
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/v1/models", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False


def llama_server(peers: Peers, directory: Path, profile: Profile) -> PeerServer:
    port = _free_port()
    command = [str(peers.llama_server), "-m", str(STARTER), "--host", "127.0.0.1", "--port", str(port)]
    command += ["-t", str(N_THREADS), "-np", str(profile.n_seq_max), "-c", str(profile.n_ctx), "--no-webui"]
    return PeerServer(LLAMA_SERVER, directory, command, port, peers.library_env)


def example_server(peers: Peers, directory: Path, profile: Profile) -> PeerServer:
    """llama-cpp-python's `examples/server`; its flags are a file, after its own sample configurations."""
    port = _free_port()
    model = {
        "path": str(STARTER),
        "alias": STARTER_NAME,
        "n_ctx": profile.n_ctx,
        "n_seq_max": profile.n_seq_max,
        "n_batch": 512,
        "n_ubatch": 512,
        "threads": N_THREADS,
        "threads_batch": N_THREADS,
        "kv_unified": True,
        "store_logits": False,
        "use_mmap": True,
    }
    config_path = directory / "example-server.json"
    config_path.write_text(json.dumps({"server": {"host": "127.0.0.1", "port": port}, "model": model}))
    command = [str(peers.example_python), str(peers.example_server), "-C", str(config_path)]
    return PeerServer(EXAMPLE_SERVER, directory, command, port, {})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
