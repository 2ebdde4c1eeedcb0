from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.files import Files
from appliance.store.layout import Layout
from tests.unit.store.layout_desk import Clock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def layout(root: Path, clock: Clock) -> Iterator[Layout]:
    with Layout(root, files=Files(), monotonic=clock) as opened:
        yield opened
