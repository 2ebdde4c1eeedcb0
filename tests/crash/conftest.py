"""A folder that costs no disk, and the count of what was played, told in one line at the end."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_TALLY: Final = pytest.StashKey[Counter[str]]()
_SPENT_S: Final = pytest.StashKey[float]()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder that costs no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="outpost-crash-") as folder:
        yield Path(folder)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What was played, by kind; of the whole session."""
    stash, begun_s = request.config.stash, time.monotonic()
    yield stash.setdefault(_TALLY, Counter())
    stash[_SPENT_S] = stash.get(_SPENT_S, 0.0) + time.monotonic() - begun_s


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if tally := config.stash.get(_TALLY, None):
        played = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.items()))
        spent_s = config.stash[_SPENT_S]
        terminalreporter.write_line(f"crash safety: {played}; {spent_s:.0f} s on {os.cpu_count()} cores")
