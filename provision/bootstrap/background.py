"""The daemon behind `make run` and `make stop`: started in the background, in `.outpost/` of this clone or in
another data directory.

DATA/make.pid      process id and start time of the daemon that `make run` started
DATA/daemon.log    what it tells
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provision.bootstrap import places, starter_model
from provision.bootstrap.steps import BootstrapError, say, step

DEFAULT_ADDRESS: Final = "127.0.0.1:11434"
_PID_FILE: Final = "make.pid"
_LOG: Final = "daemon.log"
_READY_S: Final = 120.0
_STOP_S: Final = 20.0
_POLL_S: Final = 0.1
_TAIL_BYTES: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A process of ours. The start time tells it from a later process with the same id."""

    pid: int
    started: str
    """Clock ticks after boot, as /proc/PID/stat has it."""
    address: str


def start(wanted: str | None, model: Path, *, data: Path) -> str:
    """Have the daemon of `data` up and ready, and return its address.

    `wanted` None: where it runs already, else the default. Raises BootstrapError with the end of its log.
    """
    running = _running(data)
    address = wanted or (running.address if running is not None else DEFAULT_ADDRESS)
    if running is not None and running.address != address:
        raise BootstrapError(
            f"its daemon already runs on {running.address}",
            hint="`make stop` first, or leave LISTEN out",
        )
    if running is None:
        running = _spawn(address, model, data)
    else:
        say(f"▸ the daemon already runs (process {running.pid}); `make stop` stops it")
    _wait_until_ready(running, data / _LOG)
    return address


def stop(*, data: Path) -> None:
    """End the daemon that `make run` started, if it runs. Its runners end with it."""
    running = _running(data)
    if running is None:
        say(f"no daemon runs in {data}")
        return
    with step(f"stopping the daemon (process {running.pid})"):
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while _running(data) is not None:
            if time.monotonic() > deadline:
                os.kill(running.pid, signal.SIGKILL)
                break
            time.sleep(_POLL_S)
    (data / _PID_FILE).unlink(missing_ok=True)


def needs_key(address: str) -> bool:
    """Whether the daemon there turns away who sends no key."""
    try:
        with urllib.request.urlopen(f"http://{address}/v1/models", timeout=5):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _spawn(address: str, model: Path, data: Path) -> Daemon:
    """Start it in a session of its own, so that Ctrl-C in this terminal does not reach it."""
    _refuse_taken(address)
    data.mkdir(parents=True, exist_ok=True)
    argv = [str(places.VENV / "bin/outpost"), "serve", "--listen", address, "--data", str(data)]
    argv += ["--model", f"{starter_model.NAME}={model}", "--preload", starter_model.NAME]
    with (data / _LOG).open("ab") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=places.ROOT, start_new_session=True
        )
    started = _start_time(child.pid) or ""
    (data / _PID_FILE).write_text(f"{child.pid} {started} {address}\n", encoding="ascii")
    return Daemon(pid=child.pid, started=started, address=address)


def _refuse_taken(address: str) -> None:
    """Raise BootstrapError when another server, perhaps another clone's, has the address: it would answer for
    ours.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (OSError, ValueError):
        return  # nobody there; whether the address is good is for the daemon to say
    raise BootstrapError(
        f"{address} is in use", hint="stop the other server, or: make run LISTEN=127.0.0.1:11435"
    )


def _wait_until_ready(daemon: Daemon, log: Path) -> None:
    began_size = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + _READY_S
    while not _answers(f"http://{daemon.address}/readyz"):
        if _start_time(daemon.pid) != daemon.started:
            raise BootstrapError(
                f"the daemon ended while it started; its log:\n{_tail(log, began_size)}", hint=f"see {log}"
            )
        if time.monotonic() > deadline:
            raise BootstrapError(f"the daemon is not ready after {_READY_S:.0f} s", hint=f"see {log}")
        time.sleep(_POLL_S)


def _running(data: Path) -> Daemon | None:
    try:
        pid, started, address = (data / _PID_FILE).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    daemon = Daemon(pid=int(pid), started=started, address=address)
    return daemon if _start_time(daemon.pid) == started else None


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; None when there is no such process, or only its remains."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(path: Path, from_byte: int) -> str:
    with path.open("rb") as log:
        log.seek(max(from_byte, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return "\n".join(f"    {line}" for line in log.read().decode(errors="replace").splitlines())
