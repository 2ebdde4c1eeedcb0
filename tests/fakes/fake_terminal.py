"""A terminal to type into: runs a program on a pseudo terminal of its own session, so that Ctrl-C is a real
SIGINT.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
ALT_ENTER: Final = "\x1b\r"
ENTER: Final = "\r"
UP: Final = "\x1b[A"

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]|\x1b\][^\x07]*\x07")

# A session leader without a terminal gets the first one it opens as its controlling terminal.
_LEAD: Final = (
    "import os, sys\n"
    "terminal = os.open(sys.argv[1], os.O_RDWR)\n"
    "for standard in (0, 1, 2): os.dup2(terminal, standard)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


class FakeTerminal:
    """Owned by the test's thread. `screen` is all that was written, without escape sequences."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], columns: int = 80) -> None:
        self._master, slave = os.openpty()
        name = os.ttyname(slave)
        self._raw = b""
        self._seen = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _LEAD, name, *command],
            env={
                **env,
                "TERM": "xterm",
                "PROMPT_TOOLKIT_NO_CPR": "1",
                "COLUMNS": str(columns),
                "LINES": "24",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Kept open until the child has the terminal: without any slave the master would read as closed.
        self._slave = slave

    @property
    def raw(self) -> str:
        return self._raw.decode(errors="replace")

    @property
    def screen(self) -> str:
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def press(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, *, timeout_s: float = 8.0) -> str:
        """Until `text` is on the screen after what the last call found; returns the screen up to its end."""
        deadline = time.monotonic() + timeout_s
        while (found := self.screen.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not appear after {self.screen[self._seen :]!r}")
        begin, self._seen = self._seen, found + len(text)
        return self.screen[begin : self._seen]

    def wait(self, *, timeout_s: float = 8.0) -> int:
        """Until the program has ended; returns its exit code."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            self._read(min(deadline, time.monotonic() + 0.02))
            if time.monotonic() >= deadline:
                raise AssertionError(f"still running; the screen shows {self.screen!r}")
        while self._read(time.monotonic()):
            pass
        return self._process.returncode

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self._raw += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=5.0)
        os.close(self._slave)
        os.close(self._master)
