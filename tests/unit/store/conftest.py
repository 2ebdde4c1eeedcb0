from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.store import ModelStore
from tests.fakes.model_files import FakeProbe, generator, make_store
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


@pytest.fixture
def probe() -> FakeProbe:
    """Of `store`."""
    return FakeProbe()


@pytest.fixture
def store(tmp_path: Path, probe: FakeProbe) -> Iterator[ModelStore]:
    made = make_store(tmp_path / "data", probe=probe)
    yield made
    made.close()


@pytest.fixture
def stocked(store: ModelStore) -> ModelStore:
    """With the model `tiny`."""
    store.import_file(generator(), "tiny", unreported)
    return store
