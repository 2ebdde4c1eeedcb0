"""A scenario played in a child process: alone, watched by strace, killed at a system call, or given an error.

    fork ─► the child waits ─► strace attaches, and says so ─► the child acts ─► its exit code

The child is forked from a process that has imported everything: a start costs milliseconds, and each play
makes the same system calls. It obeys the modes of files, as the daemon does, which is not root.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import OutpostError
from tests.crash.bugs import BUGS
from tests.crash.scenarios import SCENARIOS

REFUSED: Final = 3
"""Exit code of a scenario that a typed error has ended."""
_BUG: Final = 1
_PR_SET_PTRACER: Final = 0x59616D61
_ANYBODY: Final = ctypes.c_ulong(-1)
_PAST_MODES: Final = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, in the first word of a set."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Played:
    code: int
    """As `subprocess` tells it: below zero the signal."""
    said: tuple[str, ...]
    complaint: str
    """What it wrote to standard error."""


def play(
    name: str, root: Path, *, bug: str = "", strace: Sequence[str] | None = None, said_to: int | None = None
) -> Played:
    """`strace`: its options, where it shall watch. `said_to`: a descriptor that takes the promises instead
    of the result.
    """
    out, errors = os.memfd_create("said"), os.memfd_create("complaint")
    ready, go = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            os.close(go)  # so that the end of the parent is the end of the wait
            _act(name, root, bug, (ready, said_to if said_to is not None else out, errors))
        with _watched(child, strace) if strace is not None else _alone():
            os.write(go, b"!")
            _, status = os.waitpid(child, 0)
        said = _lines(out)
        complaint = os.pread(errors, 1 << 20, 0).decode(errors="replace")
    finally:
        for descriptor in (out, errors, ready, go):
            os.close(descriptor)
    return Played(os.waitstatus_to_exitcode(status), said, complaint)


def play_here(name: str, root: Path) -> Played:
    """Without a child: what the next start makes of a store that was cut off."""
    held = os.dup(1)
    out = os.memfd_create("said")
    os.dup2(out, 1)
    code, complaint = 0, ""
    try:
        SCENARIOS[name].act(root, BUGS[""]())
    except OutpostError as error:
        code, complaint = REFUSED, f"{type(error).__name__}: {error}"
    finally:
        said = _lines(out)
        os.dup2(held, 1)
        for descriptor in (held, out):
            os.close(descriptor)
    return Played(code, said, complaint)


def _act(name: str, root: Path, bug: str, descriptors: tuple[int, int, int]) -> None:
    """The child's life; never returns."""
    code = _BUG
    try:
        ready, out, errors = descriptors
        os.dup2(out, 1)
        os.dup2(errors, 2)
        _libc.prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
        obey_modes()
        if os.read(ready, 1):
            SCENARIOS[name].act(root, BUGS[bug]())
            code = 0
    except OutpostError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        code = REFUSED
    except BaseException:  # noqa: BLE001 - top of a process: the code and the last words are the message
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _lines(descriptor: int) -> tuple[str, ...]:
    return tuple(line.strip() for line in os.pread(descriptor, 1 << 20, 0).decode().splitlines())


def obey_modes() -> None:
    """Give up root's right to open what its mode forbids. Others have no such right."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if _libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for first_word in (0, 1, 2):  # effective, permitted, inheritable
        sets[first_word] &= ~_PAST_MODES
    if _libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def _alone() -> Iterator[None]:
    yield


@contextmanager
def _watched(child: int, options: Sequence[str]) -> Iterator[None]:
    """The tracer has attached when the block begins, and has written its log when it ends."""
    command = ["strace", *options, "-p", str(child)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        line = strace.stderr.readline()
        if "attached" not in line:
            with suppress(ProcessLookupError):
                os.kill(child, 9)
            os.waitpid(child, 0)
            raise AssertionError(f"strace: {line}{strace.stderr.read()}")
        yield
        strace.stderr.read()
