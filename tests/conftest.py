"""What holds for every test: its layer, its time-out, and that it leaves no thread behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

# Boards and busy machines are slow; time is judged by the time-out of each layer, not per example. What CI
# says of a commit is said again of the same commit; elsewhere new examples are tried each time.
hypothesis.settings.register_profile(
    "outpost",
    deadline=None,
    max_examples=50,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("outpost")

_HERE: Final = Path(__file__).parent
_LAYERS: Final[tuple[str, ...]] = ("unit", "hil", "integration", "e2e", "bench")
"""Folders below tests/, fastest first, and `hil`, which is beside it. All but `unit` are markers too."""
_TIMEOUT_S: Final = {"unit": 60, "hil": 60, "integration": 60, "e2e": 300, "bench": 3600}
_THREAD_GRACE_S: Final = 5.0
_NOT_OURS: Final = ("pytest_timeout", "tqdm_monitor")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a layer that `-m` leaves out: it may need llama.cpp, which the unit tests do not."""
    left_out = f"not {collection_path.name}" in config.option.markexpr
    return True if left_out and collection_path.parent == _HERE and collection_path.name in _LAYERS else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the layer of its folder, before `-m` selects, and give it that layer's time-out."""
    for item in items:
        layer = _layer_of(item)
        if layer != "unit":
            item.add_marker(layer)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S[layer]))


@pytest.hookimpl(specname="pytest_collection_modifyitems", trylast=True)
def pytest_order_by_layer(items: list[pytest.Item]) -> None:
    """Fast layers first; inside a layer the order stays random."""
    items.sort(key=lambda item: _LAYERS.index(_layer_of(item)))


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    """Every thread has an owner that joins it: those that started in a test have ended with it.

    Threads of fixtures with a wider scope exist before this fixture, and are no concern of the test.
    """
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + _THREAD_GRACE_S
    while left := _alive_since(before):
        if time.monotonic() > deadline:
            pytest.fail(f"threads left behind: {', '.join(sorted(thread.name for thread in left))}")
        left[0].join(0.05)


def _alive_since(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.is_alive() and not thread.name.startswith(_NOT_OURS)
    ]


def _layer_of(item: pytest.Item) -> str:
    """The folder below tests/ that holds the test; a marker of another layer on the test itself wins."""
    for layer in reversed(_LAYERS[1:]):
        if item.get_closest_marker(layer) is not None:
            return layer
    if not item.path.is_relative_to(_HERE):
        return "hil"
    folder = str(item.path.relative_to(_HERE).parts[0])
    return folder if folder in _LAYERS else "unit"
