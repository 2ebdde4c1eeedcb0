"""What the tests of a layout's upkeep share: a clock that stands, and ways to look and to damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.errors import ModelNotFound
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import FakeSource, blob_of

NAME = parse_reference("tiny")


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def open_layout(root: Path) -> Layout:
    """As the next process would."""
    return Layout(root, files=Files())


def blob_path(layout: Layout, content: bytes) -> Path:
    return layout.places.blob(blob_of(content).digest)


def flip(path: Path) -> None:
    """One bit, size and time as before: only reading finds it."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def half_arrived(layout: Layout, source: FakeSource | None = None) -> Descriptor:
    """Cut off in the middle; what is there of it waits for the next try."""
    source = source or FakeSource()
    source.fail_after = 4000
    blob = source.add(os.urandom(10_000))
    with pytest.raises(ModelNotFound):
        layout.take(blob, source, unreported)
    return blob


def index_time_s(layout: Layout) -> float:
    """The wall clock when the names last changed."""
    return layout.places.index.stat().st_ctime
