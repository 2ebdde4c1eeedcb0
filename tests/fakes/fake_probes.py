"""What a hostile runner would try from inside its box. Run by a FakeEngine in a real runner process.

Outside of the box every attempt succeeds, for any user: a control run proves that it is the box that stops
them. Attempts that would end the process if they succeeded stop where the kernel has looked at their
arguments.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

_libc = ctypes.CDLL(None, use_errno=True)
_IO_URING_SETUP, _PIDFD_OPEN, _CLONE3 = 425, 434, 435
_PTRACE_SEIZE = 0x4206


def probe(knobs: dict[str, Any]) -> str:
    """JSON: per attempt "allowed", or the name of the error that stopped it. The knobs name the targets."""
    outside, model, other = Path(knobs["outside"]), Path(knobs["model"]), int(knobs["other_pid"])
    attempts: dict[str, Callable[[], object]] = {
        "read_etc": lambda: Path("/etc/passwd").read_bytes(),
        "read_outside": outside.read_bytes,
        "list_root": lambda: list(Path("/").iterdir()),
        "read_environment_of_other": lambda: Path(f"/proc/{other}/environ").read_bytes(),
        "write_file": lambda: (outside.parent / "new").write_bytes(b"x"),
        "overwrite_model": lambda: model.open("r+b").close(),
        "unlink": lambda: (outside.parent / "to_unlink").unlink(),
        "rename": lambda: (outside.parent / "to_rename").rename(outside.parent / "renamed"),
        "connect_tcp": lambda: _connect(int(knobs["port"])),
        "unix_socket": lambda: socket.socket(socket.AF_UNIX),
        "exec": lambda: subprocess.run(["/bin/true"], check=True),
        "exec_in_place": lambda: _reach(errno.ENOENT, lambda: os.execv("/no/such/program", ["x"])),
        "fork": _fork,
        "clone3": lambda: _reach(errno.EINVAL, lambda: _syscall(_CLONE3, None, 0)),
        "ptrace": lambda: _check(_libc.ptrace(_PTRACE_SEIZE, other, None, None)),
        "kill_other": lambda: os.kill(other, 0),
        "tgkill_other": lambda: _tgkill(other),
        "pidfd_open": lambda: _syscall(_PIDFD_OPEN, other, 0),
        "io_uring": set_up_io_uring,
        "become_dumpable": lambda: _check(_libc.prctl(4, 1, 0, 0, 0)),
        "outlive_the_daemon": lambda: _check(_libc.prctl(1, 0, 0, 0, 0)),
        # What it must still be able to do:
        "may_read_model": model.read_bytes,
        "may_start_thread": _thread,
        "may_read_memory_reading": lambda: Path("/proc/self/status").read_bytes(),
        "may_read_cores": lambda: Path("/sys/devices/system/cpu/online").read_bytes(),
        "may_import": lambda: __import__("sqlite3"),
    }
    return msgspec.json.encode({name: _outcome(attempt) for name, attempt in attempts.items()}).decode()


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ImportError as error:
        return str(error)
    return "allowed"


def set_up_io_uring() -> None:
    _syscall(_IO_URING_SETUP, 4, ctypes.create_string_buffer(256))


def _reach(code: int, attempt: Callable[[], object]) -> None:
    """`code` is the kernel's own answer to our arguments: the call got through."""
    try:
        attempt()
    except OSError as error:
        if error.errno != code:
            raise


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "denied")


def _syscall(number: int, *arguments: object) -> None:
    _check(int(_libc.syscall(ctypes.c_long(number), *arguments)))


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET) as sock:
        sock.connect(("127.0.0.1", port))


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _tgkill(pid: int) -> None:
    numbers = {"x86_64": 234, "aarch64": 131}
    _syscall(numbers[os.uname().machine], pid, pid, signal.SIGWINCH)


def _thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
