"""The board under test: this machine, or a capture named by OUTPOST_ROOT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from appliance.hardware.report import HardwareReport, sample
from appliance.hardware.root import Root

_HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("hil")


@pytest.fixture(scope="session")
def root() -> Root:
    top = Path(os.environ.get("OUTPOST_ROOT", "/"))
    assert top.is_dir(), f"OUTPOST_ROOT={top} is no directory"
    return Root(top)


@pytest.fixture(scope="module")
def before(root: Root) -> HardwareReport:
    return sample(root)


@pytest.fixture(scope="module")
def after(root: Root, before: HardwareReport) -> HardwareReport:
    """Taken later than `before`."""
    assert before.board is not None
    return sample(root)
