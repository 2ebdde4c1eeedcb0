"""A runner's process as an operating system object: start, last words, end. What it says on the wire is
`client.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from appliance.log import logger

_log = logger("supervisor")

RUNNER_COMMAND: tuple[str, ...] = (sys.executable, "-I", "-m", "appliance.runner")

_ENVIRONMENT = {
    # An abort would otherwise start a debugger to print a trace: seconds, and an exec that the sandbox
    # denies anyway.
    "GGML_NO_BACKTRACE": "1",
    # numpy's BLAS would start threads before the sandbox stands, and Landlock boxes in only the calling
    # thread.
    "OPENBLAS_NUM_THREADS": "1",
}
_KILL_GRACE_S = 0.5
_SENT = ("SIGTERM", "SIGINT", "SIGHUP")
"""Signals that no program raises by a fault of its own."""
_LINE_BYTES = 2048
_TAIL_LINES = 16
_LINES_PER_S = 50.0
_LINES_BURST = 200.0


class RunnerProcess:
    """One child. `kill` may be called from any thread, `reap` belongs to one.

    Must be made on the daemon's main thread: the child's PR_SET_PDEATHSIG fires when its *creating thread*
    ends.
    """

    def __init__(
        self,
        *,
        name: str,
        sandbox: str,
        command: Sequence[str] = RUNNER_COMMAND,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`pass_fds` keep their numbers. Raises OSError when the system cannot start one more process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        arguments = [
            "--fd",
            str(theirs.fileno()),
            "--parent",
            str(os.getpid()),
            "--sandbox",
            sandbox,
            "--name",
            name,
        ]
        try:
            self._popen = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=(theirs.fileno(), *pass_fds),
                start_new_session=True,  # Ctrl-C in the daemon's terminal is the daemon's business
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        assert self._popen.stderr is not None
        self.name = name
        self.socket = ours
        self._words = LastWords(self._popen.stderr, runner=name, pid=self._popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def bound_memory(self, limit_bytes: int) -> None:
        """Bound what it may allocate. RLIMIT_DATA, not RLIMIT_AS: it counts private writable pages, and not
        the mapped model.
        """
        with contextlib.suppress(OSError):  # it has ended already
            resource.prlimit(self.pid, resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

    def offer_to_kernel(self) -> None:
        """When memory runs out, let the kernel take it before all else. At once after the start: later it
        belongs to nobody who may write its /proc entries.
        """
        with contextlib.suppress(OSError):  # it has ended already
            Path(f"/proc/{self.pid}/oom_score_adj").write_text("1000", encoding="ascii")

    def kill(self) -> None:
        """SIGKILL, also for a stopped process. Harmless when it is gone."""
        self._popen.kill()

    def last_lines(self) -> list[str]:
        """Of its stderr, after `reap`."""
        return self._words.lines()

    def reap(self, grace_s: float) -> str:
        """Wait `grace_s` for its own end, then kill; returns the cause in words. Ends the stderr thread."""
        try:
            code = self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._reap_killed()
        self._words.join()
        return cause_in_words(code, self._words.last())

    def _reap_killed(self) -> str:
        try:
            self._popen.wait(_KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            # Stuck in the kernel (a broken disk or driver). Its requests must not wait for that, too.
            _log.error("runner_unkillable", runner=self.name, pid=self.pid)
        self._words.join()
        return "killed by the daemon: it did not end by itself"


class LastWords:
    """Reads a runner's stderr into the daemon's log, bounded in line length and rate, and keeps the last
    lines.

    Its lines belong to its own thread until `join`.
    """

    def __init__(self, stream: IO[bytes], *, runner: str, pid: int) -> None:
        self._stream = stream
        self._log = _log.bind(runner=runner, pid=pid)
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._read, name=f"stderr-{runner}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """After the process's end; a grandchild that holds the pipe open is not waited for."""
        self._thread.join(0.2)

    def last(self) -> str | None:
        return self._lines[-1] if self._lines else None

    def lines(self) -> list[str]:
        return list(self._lines)

    def _read(self) -> None:
        allowance, then = _LINES_BURST, time.monotonic()
        with self._stream as stream:
            # readline with a limit: an endless line comes in pieces and never as a whole.
            while raw := stream.readline(_LINE_BYTES):
                line = raw.decode("utf-8", "replace").strip()
                if not line:
                    continue
                self._lines.append(line)
                now = time.monotonic()
                allowance = min(_LINES_BURST, allowance + (now - then) * _LINES_PER_S)
                then = now
                if allowance >= 1.0:
                    allowance -= 1.0
                    self._log.info("runner_stderr", line=line)
                else:
                    self._dropped += 1
        if self._dropped:
            self._log.warning("runner_stderr_dropped", lines=self._dropped)


def cause_in_words(code: int, last_line: str | None) -> str:
    """How a process ended, for people: `SIGSEGV`, `exit code 70; last words: …`."""
    words = _signal_name(-code) if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        words += ", perhaps by the kernel for want of memory"
    return f"{words}; last words: {last_line[:300]}" if last_line else words


def was_sent_away(cause: str) -> bool:
    """Whether somebody else has ended it: a service manager that stops all processes of a unit at once."""
    return cause.startswith(_SENT)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
