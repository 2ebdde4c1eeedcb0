from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder that costs no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="outpost-crash-") as folder:
        yield Path(folder)
