from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.errors import (
    InvalidRequest,
    ModelBroken,
    StoreFault,
)
from appliance.store.content import Progress
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference

_NAME = parse_reference("tiny")


def test_a_file_is_adopted_by_copy(layout: Layout, tmp_path: Path) -> None:
    content = os.urandom(9_000_001)
    (tmp_path / "m.gguf").write_bytes(content)
    news: list[Progress] = []

    blob = layout.adopt(tmp_path / "m.gguf", report=news.append)

    assert blob.digest == digest_of(content)
    assert blob.size == 9_000_001
    assert layout.path(blob.digest).read_bytes() == content
    assert news[-1] == Progress(status="copying m.gguf", total_bytes=9_000_001, completed_bytes=9_000_001)
    assert list((layout.root / "ingest").iterdir()) == []


def test_a_file_is_adopted_in_place(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")

    blob = layout.adopt(path, link=True)

    assert layout.path(blob.digest).samefile(path)
    assert path.stat().st_mode & 0o777 == 0o444
    assert layout.adopt(path, link=True) == blob
    assert list((layout.root / "ingest").iterdir()) == []


def test_a_file_adopted_in_place_and_changed_is_not_served(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")
    blob = layout.adopt(path, link=True)
    path.chmod(0o644)
    path.write_bytes(b"Weights")

    with pytest.raises(ModelBroken, match="has changed"):
        layout.path(blob.digest)


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing"])
def test_only_plain_files_are_adopted(layout: Layout, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)

    with pytest.raises(InvalidRequest):
        layout.adopt(path)


def test_a_file_whose_name_could_not_be_written_leaves_nothing(root: Path, tmp_path: Path) -> None:
    class NoRename(Files):
        def rename(self, source: Path, target: Path) -> None:
            if target.parent.name == "sha256":
                raise StoreFault(path=str(target), reason="input/output error")
            super().rename(source, target)

    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    with Layout(root, files=NoRename()) as layout:
        for link in (False, True):
            with pytest.raises(StoreFault):
                layout.adopt(path, link=link)
        with pytest.raises(StoreFault):
            layout.put(b"small", "text/plain")

        assert list(layout.places.ingest.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_not_adopted(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")

    def change(_: Progress) -> None:
        path.write_bytes(b"other weights")

    with pytest.raises(StoreFault, match="changed while it was read"):
        layout.adopt(path, report=change)

    assert list((layout.root / "ingest").iterdir()) == []
    assert list((layout.root / "blobs" / "sha256").iterdir()) == []
