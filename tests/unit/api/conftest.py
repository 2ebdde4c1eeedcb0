"""Quiet: hundreds of requests a second, each with its line, are slower to print than to answer."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from tests.unit.api.doors import Doors


@pytest.fixture(autouse=True)
def journal() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged in this test."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    made = Doors(tmp_path)
    yield made
    made.close()
