"""Layouts of others, examined where they lie."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ModelNotFound
from appliance.store.check import tree
from appliance.store.content import Progress
from appliance.store.descriptor import ImageIndex
from appliance.store.digest import digest_of, hex_of
from appliance.store.files import Files
from appliance.store.inspection import Inspected, inspect
from appliance.store.layout import Layout
from appliance.store.manifest import render_index
from appliance.store.media_types import OCI_INDEX, OCI_MANIFEST
from appliance.store.names import MAX_INDEX_BYTES
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import blob_of, store_model

WEIGHTS = b"weights" * 500


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    with Layout(tmp_path / "stick", files=Files(), portable=True) as layout:
        store_model(layout, "tiny", WEIGHTS, b"shared")
        store_model(layout, "other", b"shared")
    return tmp_path / "stick"


def _tar(stick: Path) -> Path:
    path = stick.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(stick, "model")
    return path


def _blob(stick: Path, content: bytes = WEIGHTS) -> Path:
    return stick / "blobs" / "sha256" / hex_of(blob_of(content).digest)


def _write(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _both(stick: Path) -> list[Inspected]:
    """As a directory and as a tar of it: one algorithm, one answer."""
    return [inspect(stick), inspect(_tar(stick))]


def _reasons(stick: Path) -> list[str]:
    directory, archive = _both(stick)
    assert [problem.reason for problem in directory.problems] == [
        problem.reason for problem in archive.problems
    ]
    return [f"{problem.what}: {problem.reason}" for problem in directory.problems]


def test_a_sound_layout_has_no_problem_and_is_left_as_it_is(stick: Path) -> None:
    before = tree(stick)
    for found in _both(stick):
        assert found.problems == ()
        # two manifests, `{}`, the weights, what both share
        assert (found.names, found.blobs) == (2, 5)
        assert found.size_bytes > len(WEIGHTS)
    assert tree(stick) == before


def test_an_export_is_sound_while_it_is_read_its_progress_is_told(stick: Path) -> None:
    told: list[Progress] = []
    found = inspect(stick, report=told.append)
    assert {progress.status for progress in told} == {"verifying"}
    assert told[-1].completed_bytes == told[-1].total_bytes == found.size_bytes


def test_a_blob_that_is_missing_is_told_with_who_needs_it(stick: Path) -> None:
    _blob(stick).unlink()
    assert _reasons(stick) == [f"tiny:latest: blob {digest_of(WEIGHTS)} is missing"]


def test_what_several_names_need_is_told_once_with_all_of_them(stick: Path) -> None:
    _blob(stick, b"shared").unlink()
    [told] = _reasons(stick)
    assert "tiny:latest, other:latest: " in told


def test_every_problem_is_told_in_one_run(stick: Path) -> None:
    _write(_blob(stick), bytes(len(WEIGHTS)))
    _write(_blob(stick, b"shared"), b"sharee")
    _write(_blob(stick, b"{}"), b"{} ")
    told = "\n".join(_reasons(stick))
    assert f"blob {digest_of(b'{}')} has 3 of 2 bytes" in told
    assert f"blob {digest_of(WEIGHTS)} is zeroed: {len(WEIGHTS)} bytes, all zero" in told
    assert f"blob {digest_of(b'shared')} has changed" in told
    assert told.count("\n") == 2


def test_a_manifest_that_has_changed_is_told_once(stick: Path) -> None:
    with Layout(stick, files=Files(), read_only=True) as layout:
        digest = layout.find(parse_reference("tiny")).digest
    path = stick / "blobs" / "sha256" / hex_of(digest)
    _write(path, path.read_bytes().replace(b"sha256", b"sha257", 1))
    [told] = _reasons(stick)
    assert f"blob {digest} has changed" in told


def _named(stick: Path, media_type: str, content: bytes, **more: object) -> None:
    """One more name in the index: this document."""
    digest = digest_of(content)
    (stick / "blobs" / "sha256" / hex_of(digest)).write_bytes(content)
    index = json.loads((stick / "index.json").read_bytes())
    index["manifests"].append({"mediaType": media_type, "digest": digest, "size": len(content), **more})
    _write(stick / "index.json", json.dumps(index).encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "is not what it should be"),
        (b"{}", "is not what it should be"),
        (b'{"schemaVersion":1,"manifests":[]}', "schema version 1"),
        (b'{"schemaVersion":2}', "neither layers nor manifests"),
    ],
)
def test_a_manifest_that_says_nothing_is_a_problem(stick: Path, content: bytes, reason: str) -> None:
    _named(stick, OCI_MANIFEST, content)
    [told] = _reasons(stick)
    assert told.startswith("(no name): ")
    assert reason in told


def test_what_is_no_manifest_is_read_and_not_understood(stick: Path) -> None:
    _named(stick, "application/octet-stream", b"\xff")
    assert _reasons(stick) == []


def test_all_of_an_index_is_examined(stick: Path) -> None:
    with Layout(stick, files=Files(), read_only=True) as layout:
        here = layout.find(parse_reference("tiny"))
    gone = blob_of(b"a variant that was not copied", OCI_MANIFEST)
    _named(stick, OCI_INDEX, render_index(ImageIndex(media_type=OCI_INDEX, manifests=(here, gone))))
    assert _reasons(stick) == [f"(no name): blob {gone.digest} is missing"]


def test_indexes_in_indexes_end_somewhere(stick: Path) -> None:
    with Layout(stick, files=Files(), read_only=True) as layout:
        inner = layout.find(parse_reference("tiny"))
    content = b""
    for _ in range(3):
        content = render_index(ImageIndex(media_type=OCI_INDEX, manifests=(inner,)))
        inner = blob_of(content, OCI_INDEX)
        (stick / "blobs" / "sha256" / hex_of(inner.digest)).write_bytes(content)
    _named(stick, OCI_INDEX, content)
    [told] = _reasons(stick)
    assert "nested too deeply" in told


def test_two_sizes_of_one_blob_cannot_both_be_right(stick: Path) -> None:
    _named(stick, "text/plain", b"text")
    index = json.loads((stick / "index.json").read_bytes())
    index["manifests"].append({**index["manifests"][-1], "size": 5})
    _write(stick / "index.json", json.dumps(index).encode())
    assert _reasons(stick) == [f"(no name): blob {digest_of(b'text')} has 4 of 5 bytes"]


def test_only_one_model_is_examined_where_it_is_named(stick: Path) -> None:
    _blob(stick).unlink()
    assert inspect(stick, parse_reference("other")).problems == ()
    assert len(inspect(stick, parse_reference("TINY")).problems) == 1
    with pytest.raises(ModelNotFound, match="available: tiny:latest, other:latest"):
        inspect(stick, parse_reference("none"))


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("oci-layout", None, "no file oci-layout"),
        ("oci-layout", lambda path: path.write_bytes(b'{"imageLayoutVersion": "2.0.0"}'), "'2.0.0'"),
        ("oci-layout", lambda path: path.write_bytes(b"{}"), "cannot be read"),
        ("oci-layout", os.mkfifo, "not a plain file"),
        ("index.json", None, "it is gone"),
        ("index.json", lambda path: path.write_bytes(b"[]"), "no OCI index"),
        ("index.json", lambda path: path.write_bytes(b" " * (MAX_INDEX_BYTES + 1)), "more than"),
        ("index.json", lambda path: path.symlink_to("/etc/hostname"), "symbolic link"),
    ],
)
def test_what_makes_it_no_layout_is_one_problem(
    stick: Path, name: str, make: Callable[[Path], object] | None, reason: str
) -> None:
    (stick / name).unlink()
    if make:
        make(stick / name)
    found = inspect(stick)
    assert [problem.what for problem in found.problems] == [str(stick)]
    assert reason in found.problems[0].reason
    assert (found.names, found.blobs) == (0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "no oci-layout"), (b"x" * 1000, "no tar archive"), (b"\x1f\x8b" + bytes(600), "unpack it first")],
)
def test_a_file_that_is_no_tar_is_one_problem(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    [problem] = inspect(path).problems
    assert (problem.what, reason in problem.reason) == (str(path), True)


def test_a_tar_that_was_cut_off_is_one_problem(stick: Path) -> None:
    path = _tar(stick)
    os.truncate(path, path.stat().st_size // 2 // 512 * 512 + 100)
    assert len(inspect(path).problems) == 1


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_what_stands_in_the_place_of_a_blob_is_never_opened(
    stick: Path, make: Callable[[Path], object]
) -> None:
    _blob(stick).unlink()
    make(_blob(stick))
    assert [problem.reason for problem in inspect(stick).problems] == [
        f"blob {digest_of(WEIGHTS)} is missing"
    ]
