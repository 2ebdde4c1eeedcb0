"""Layouts that others wrote: directories and sticks, opened for reading only, whatever lies there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import DigestMismatch, ManifestInvalid, ModelNotFound, OutpostError, StoreFault
from appliance.store.check import tree
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.names import MAX_INDEX_BYTES
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import blob_of, store_model

_NAME = parse_reference("tiny")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    with Layout(tmp_path / "stick", files=Files(), portable=True) as layout:
        store_model(layout, "tiny", b"weights")
    return tmp_path / "stick"


def _open(root: Path) -> Layout:
    return Layout(root, files=Files(), read_only=True)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def test_a_foreign_layout_is_read_and_left_as_it_is(stick: Path) -> None:
    before = tree(stick)
    layout = _open(stick)

    resolved = layout.resolve(_NAME)
    with layout.open(blob_of(b"weights"), start=2, end=5) as chunks:
        part = b"".join(chunks)
    layout.close()

    assert resolved.descriptor.digest == layout.find(_NAME).digest
    assert part == b"igh"
    assert tree(stick) == before


def test_a_foreign_layout_can_be_read_twice_at_once(stick: Path) -> None:
    with _open(stick) as first, _open(stick) as second:
        assert first.references() == second.references()


def test_nothing_is_removed_from_a_foreign_layout(stick: Path) -> None:
    before = tree(stick)

    with _open(stick) as layout, pytest.raises(StoreFault, match="for reading only"):
        layout.untag(_NAME)

    assert tree(stick) == before


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir(), lambda path: None],
    ids=["pipe", "link", "directory", "nothing"],
)
def test_what_stands_in_the_place_of_a_file_is_refused_at_once(
    stick: Path, name: str, make: Callable[[Path], object]
) -> None:
    _replace(stick / name, make)

    with pytest.raises((ManifestInvalid, StoreFault)):
        _open(stick)


@pytest.mark.parametrize("directory", ["blobs", "blobs/sha256"])
def test_a_directory_that_is_a_link_is_refused(stick: Path, tmp_path: Path, directory: str) -> None:
    (stick / directory).rename(tmp_path / "elsewhere")
    (stick / directory).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ManifestInvalid, match="no OCI layout"):
        _open(stick)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")], ids=["pipe", "link"]
)
def test_a_blob_that_is_no_plain_file_is_not_there(stick: Path, make: Callable[[Path], object]) -> None:
    weights = blob_of(b"weights")
    _replace(stick / "blobs" / "sha256" / weights.digest[7:], make)

    with _open(stick) as layout:
        assert not layout.has(weights)
        with pytest.raises(ModelNotFound), layout.open(weights):
            pass
        with pytest.raises(ModelNotFound):
            layout.fetch(weights)


def _index_of(*, digest: bytes = b"sha256:" + b"0" * 64, size: bytes = b"1") -> bytes:
    entry = b'{"mediaType": "x", "digest": "%s", "size": %s}' % (digest, size)
    return b'{"schemaVersion": 2, "manifests": [%s]}' % entry


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"null",
        b"[" * 200_000,
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "manifests": [{}]}',
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}',
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:%s", "size": -1}]}'
        % (b"0" * 64),
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:%s", "size": 1e400}]}'
        % (b"0" * 64),
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha512:%s", "size": 1}]}'
        % (b"0" * 128),
        b"\xff\xfe\x00",
        b" " * (MAX_INDEX_BYTES + 1),
    ],
    ids=lambda index: f"{index[:20]!r}-{len(index)}",
)
def test_a_hostile_index_is_a_typed_error(stick: Path, index: bytes) -> None:
    (stick / "index.json").write_bytes(index)

    with pytest.raises(ManifestInvalid):
        _open(stick)


@pytest.mark.parametrize(
    "layout", [b"", b"{}", b"[]", b'{"imageLayoutVersion": 1}', b'{"imageLayoutVersion": "9"}']
)
def test_a_hostile_version_is_a_typed_error(stick: Path, layout: bytes) -> None:
    (stick / "oci-layout").write_bytes(layout)

    with pytest.raises(ManifestInvalid):
        _open(stick)


def test_an_evil_stick_breaks_no_store(stick: Path, tmp_path: Path) -> None:
    """Its bytes are not what its manifest says."""
    weights = blob_of(b"weights")
    path = stick / "blobs" / "sha256" / weights.digest[7:]
    _replace(path, lambda made: made.write_bytes(b"Weights"))
    with Layout(tmp_path / "store", files=Files()) as store, _open(stick) as source:
        before = tree(tmp_path / "store")
        with pytest.raises(DigestMismatch):
            store.take(weights, source, unreported)
        assert tree(tmp_path / "store") == before


def test_a_blob_that_is_shorter_than_listed_is_a_typed_error(stick: Path, tmp_path: Path) -> None:
    weights = blob_of(b"weights")
    _replace(stick / "blobs" / "sha256" / weights.digest[7:], lambda made: made.write_bytes(b"wei"))

    with Layout(tmp_path / "store", files=Files()) as store, _open(stick) as source:
        with pytest.raises(OutpostError):
            store.take(weights, source, unreported)
        assert not store.has(weights)
