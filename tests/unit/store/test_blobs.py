from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from appliance.errors import (
    ModelBroken,
    ModelNotFound,
)
from appliance.store.check import check
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.names import entry_for, render
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import blob_of, store_model
from tests.unit.store.layout_desk import open_layout

_NAME = parse_reference("tiny")


def _overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_opening_a_known_blob_reads_nothing(root: Path) -> None:
    class NoReading(Files):
        def open_existing(self, path: Path) -> int:
            raise AssertionError(path)

    with open_layout(root) as layout:
        blob = layout.adopt(Path(__file__))

    with Layout(root, files=NoReading()) as layout:
        assert layout.path(blob.digest).exists()


def test_a_zeroed_blob_is_never_served_and_its_model_is_broken(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", b"weights", config=b'{"a":1}')
    weights = blob_of(b"weights")
    _overwrite(layout.path(weights.digest), bytes(7))

    with pytest.raises(ModelBroken, match="zeroed: 7 bytes"):
        layout.path(weights.digest)

    with pytest.raises(ModelBroken, match=r"'tiny:latest' is broken: blob sha256:\w+ is zeroed"):
        layout.lookup(_NAME)
    assert not layout.has(weights)
    assert (root / "quarantine" / weights.digest[7:]).read_bytes() == bytes(7)
    assert "zeroed" in str(layout.broken(layout.find(_NAME)))


def test_a_broken_model_is_repaired_by_arriving_again(layout: Layout, root: Path) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    weights = blob_of(b"weights")
    layout.quarantine(weights.digest, "the disk has lost it")

    store_model(layout, "tiny", b"weights")

    assert layout.lookup(_NAME) == resolved.descriptor
    assert list((root / "quarantine").iterdir()) == []
    assert check(root) == []


def test_a_truncated_blob_is_known_without_reading(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    _overwrite(layout.path(blob_of(b"weights").digest), b"weig")

    with pytest.raises(ModelBroken, match="has 4 of 7 bytes"):
        layout.lookup(_NAME)


def test_a_missing_blob_breaks_its_model(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    layout.path(blob_of(b"weights").digest).unlink()

    with pytest.raises(ModelBroken, match="is missing"):
        layout.lookup(_NAME)


def test_a_changed_manifest_is_not_believed(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    _overwrite(layout.path(resolved.descriptor.digest), resolved.content.replace(b"manifest", b"manIfest"))

    with pytest.raises(ModelBroken):
        layout.fetch(resolved.descriptor)


def test_a_broken_model_can_be_removed(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    layout.quarantine(blob_of(b"weights").digest, "lost")

    layout.untag(_NAME)

    assert layout.references() == []


def test_after_an_unclean_stop_fresh_blobs_are_hashed_before_use(root: Path) -> None:
    """The machine hung and its disk lost what it had promised: same inode, size and time, but zeros."""
    layout = open_layout(root)
    store_model(layout, "tiny", b"weights")
    path = layout.path(blob_of(b"weights").digest)
    found = path.stat()
    layout._lock.close()  # type: ignore[union-attr]  # the process died
    _overwrite(path, bytes(7))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    with open_layout(root) as again, pytest.raises(ModelBroken, match="zeroed"):
        again.path(blob_of(b"weights").digest)


def test_a_link_in_the_place_of_a_blob_is_no_blob(layout: Layout, tmp_path: Path) -> None:
    store_model(layout, "tiny", b"weights")
    (tmp_path / "secret").write_bytes(b"weights")
    path = layout.path(blob_of(b"weights").digest)
    path.unlink()
    path.symlink_to(tmp_path / "secret")

    with pytest.raises(ModelNotFound):
        layout.path(blob_of(b"weights").digest)


def test_two_hundred_models_are_listed_in_a_moment(layout: Layout, root: Path) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    entries = [entry_for(parse_reference(f"model-{number:03}"), resolved.descriptor) for number in range(200)]
    (root / "index.json").write_bytes(render([entry.raw for entry in entries]))

    start = time.perf_counter()
    listed = [(reference.display, layout.broken(top)) for reference, top in layout.references()]
    elapsed_s = time.perf_counter() - start

    assert listed == [(f"model-{number:03}:latest", None) for number in range(200)]
    assert elapsed_s < 0.5  # 0.02 on an idle machine
