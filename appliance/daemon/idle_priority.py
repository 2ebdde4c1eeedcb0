"""Lowest priority for one thread: it computes and reads only when nobody else wants to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import Final

_NICEST: Final = 19
_IOPRIO_WHO_PROCESS: Final = 1
_IDLE: Final = 3 << 13
"""IOPRIO_CLASS_IDLE (linux/ioprio.h)."""
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
"""Numbers of the system call; the C library has no function for it."""


def take_idle_priority() -> None:
    """Of the calling thread alone. Where the kernel does not know it, it stays as it was."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, _NICEST)  # on Linux: of the thread
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall(number, _IOPRIO_WHO_PROCESS, thread, _IDLE)
