"""Telling the person at the terminal what happens, and running programs with one form of failure."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

_TAIL_LINES: Final = 30


class BootstrapError(Exception):
    """Setting up cannot go on. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce one step, and say how long it took."""
    say(f"▸ {text}")
    began_s = time.monotonic()
    yield
    say(f"  done in {duration(time.monotonic() - began_s)}")


def duration(seconds: float) -> str:
    """`8 s`, `6 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def run(argv: Sequence[str], *, hint: str, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed. Raises BootstrapError with the end of that on
    failure.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise BootstrapError(f"{argv[0]} is not there", hint=hint) from error
    if done.returncode != 0:
        raise failure(argv, done.returncode, done.stdout, hint=hint)
    return done.stdout


def failure(argv: Sequence[str], code: int, output: str, *, hint: str) -> BootstrapError:
    """The error of a program that ended badly: its command, how it ended, and the end of what it said."""
    ending = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    tail = "\n".join(f"    {line}" for line in output.splitlines()[-_TAIL_LINES:])
    return BootstrapError(f"{shlex.join(argv)} {ending}:\n{tail}", hint=hint)


def is_terminal() -> bool:
    return sys.stdout.isatty()
