"""Who this process is to the system: its name for `ps`, and its tie to the daemon that made it. Linux prctl
by ctypes.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_GET_DUMPABLE = 3

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int | bytes = 0) -> int:
    """One call of the kernel's prctl. Raises OSError."""
    second = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    result = int(libc.prctl(ctypes.c_int(option), second, zero, zero, zero))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
    return result


def die_with_parent(parent: int) -> bool:
    """Ask for SIGKILL when the thread that made us ends. False: the parent is gone already (it died before
    the call).
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def show_as(title: str) -> None:
    """Name the process for `ps`: the command name (15 characters) and, where it fits, the whole command
    line.
    """
    prctl(PR_SET_NAME, b"outpost-runner")
    start, end = _command_line_area()
    room = end - start
    if room > 1:
        # The kernel shows this area of our own memory as /proc/PID/cmdline; what is left of it is filled
        # with zeros.
        text = title.encode("utf-8", "replace")[: room - 1]
        ctypes.memmove(start, text.ljust(room, b"\0"), room)


def _command_line_area() -> tuple[int, int]:
    """arg_start and arg_end, fields 48 and 49 of /proc/self/stat (proc_pid_stat(5))."""
    line = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    fields = line.rpartition(")")[2].split()
    return int(fields[45]), int(fields[46])


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_OWN_MAPPING_BYTES = 4 * 1024 * 1024
_ARENAS = 2


def steady_heap() -> None:
    """Keep llama.cpp's buffers out of the heap. glibc moves the bound between heap and mappings of their own up
    to 32 MB as large blocks are freed; what is freed below a block that lives stays resident, and how much
    that is depends on the order of requests. Where libc has no mallopt, all stays as it is.
    """
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)
