from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from appliance.errors import DigestMismatch, ManifestInvalid, ModelNotFound
from appliance.store.archive import TarSource, TarTarget
from appliance.store.check import check
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from appliance.store.tar_format import members, render_header
from tests.fakes.fake_models import FakeSource, blob_of, store_model

_NAME = parse_reference("tiny")
_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_INDEX = b'{"schemaVersion": 2, "manifests": []}'


def _export(path: Path, *weights: bytes) -> FakeSource:
    source = FakeSource()
    resolved = source.add_model("tiny", *weights)
    with TarTarget(path, files=Files()) as target:
        for digest in source.contents:
            if digest != resolved.descriptor.digest:
                target.take(blob_of(source.contents[digest]), source, unreported)
        target.publish(_NAME, resolved)
    return source


def _tar(
    path: Path, *extra: tuple[tarfile.TarInfo, bytes], layout: bytes = _LAYOUT, index: bytes = _INDEX
) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in (
            *extra,
            (_info("oci-layout", layout), layout),
            (_info("index.json", index), index),
        ):
            archive.addfile(info, io.BytesIO(content))
    return path


def _info(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    return info


def test_an_export_is_an_oci_layout_for_every_tool(tmp_path: Path) -> None:
    _export(tmp_path / "x.tar", b"weights", os.urandom(3000))

    with tarfile.open(tmp_path / "x.tar") as archive:
        archive.extractall(tmp_path / "out", filter="data")

    assert check(tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out" / "blobs").iterdir()] == ["sha256"]


def test_an_export_comes_back(tmp_path: Path) -> None:
    weights = os.urandom(3000)
    made = _export(tmp_path / "x.tar", weights)

    with (
        TarSource(tmp_path / "x.tar", files=Files()) as archive,
        Layout(tmp_path / "s", files=Files()) as layout,
    ):
        resolved = archive.resolve(_NAME)
        for blob in (blob_of(b"{}"), blob_of(weights)):
            layout.take(blob, archive, unreported)
        layout.publish(_NAME, resolved)
        assert layout.path(blob_of(weights).digest).read_bytes() == weights
        assert [name.display for name, _ in archive.references()] == ["tiny:latest"]

    assert resolved == made.names[_NAME.key]


def test_two_exports_of_one_model_are_the_same_bytes(tmp_path: Path) -> None:
    _export(tmp_path / "a.tar", b"weights")
    _export(tmp_path / "b.tar", b"weights")

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_an_export_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"before")

    with pytest.raises(KeyError), TarTarget(tmp_path / "x.tar", files=Files()) as target:
        target.take(blob_of(b"not in the source"), FakeSource(), unreported)

    assert (tmp_path / "x.tar").read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [tmp_path / "x.tar"]


def test_a_blob_that_failed_can_be_taken_again(tmp_path: Path) -> None:
    source = FakeSource()
    blob = source.add(b"good bytes")
    with TarTarget(tmp_path / "x.tar", files=Files()) as target:
        source.contents[blob.digest] = b"evil bytes"
        with pytest.raises(DigestMismatch):
            target.take(blob, source, unreported)
        assert not target.has(blob)
        source.contents[blob.digest] = b"good bytes"
        target.take(blob, source, unreported)

    with TarSource(tmp_path / "x.tar", files=Files()) as archive:
        assert archive.fetch(blob) == b"good bytes"


def test_a_directory_on_top_is_left_out(tmp_path: Path) -> None:
    with Layout(tmp_path / "model", files=Files(), portable=True) as layout:
        store_model(layout, "tiny", b"weights")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "model", "model")

    with TarSource(tmp_path / "x.tar", files=Files()) as source:
        assert [name.display for name, _ in source.references()] == ["tiny:latest"]
        assert source.fetch(blob_of(b"weights")) == b"weights"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_form_are_read(tmp_path: Path, form: int) -> None:
    name = "d" * 90 + "/" + "f" * 90
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        archive.addfile(_info(name, b"123"), io.BytesIO(b"123"))
    content = (tmp_path / "x.tar").read_bytes()

    found = members(lambda at, length: content[at : at + length], len(content), what="x")

    assert list(found) == [name]
    assert content[found[name].offset :][:3] == b"123"


def test_sizes_past_eight_gigabytes_are_written_and_read() -> None:
    header = render_header("oci-layout", 10_000_000_001)

    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == 10_000_000_001


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a fifo"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"V", "unknown kind"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes, reason: str) -> None:
    path = _tar(tmp_path / "x.tar", (_info("blobs/sha256/x", kind=kind, target="/etc/passwd"), b""))

    with pytest.raises(ManifestInvalid, match=reason):
        TarSource(path, files=Files())


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "blobs/../../x", "a\\b", "a\nb", "blobs/sha256/.."])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestInvalid, match="leads out of it"):
        TarSource(_tar(tmp_path / "x.tar", (_info(name, b"x"), b"x")), files=Files())


def test_a_name_that_is_in_it_twice_is_refused(tmp_path: Path) -> None:
    path = _tar(tmp_path / "x.tar", (_info("./index.json", _INDEX), _INDEX))

    with pytest.raises(ManifestInvalid, match="in it twice"):
        TarSource(path, files=Files())


@pytest.mark.parametrize(
    ("key", "value"),
    [("GNU.sparse.major", "1"), ("size", "-1"), ("size", "9" * 19), ("size", "x"), ("size", "1e3")],
)
def test_hostile_extended_headers_are_refused(tmp_path: Path, key: str, value: str) -> None:
    info = _info("blobs/sha256/x", b"x")
    info.pax_headers = {key: value}
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"x"))

    with pytest.raises(ManifestInvalid):
        TarSource(path, files=Files())


def _header(name: str = "x", size: int = 0, kind: bytes = b"0") -> bytes:
    header = bytearray(render_header(name, size))
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no oci-layout"),
        (b"x" * 512, "no tar archive"),
        (b"\x1f\x8b" + bytes(600), "compressed"),
        (b"x" * 100, "cut off within a header"),
        (_header(size=10**6), "cut off: 1000512 bytes"),
        (_header(size=1 << 80), "cut off"),
        (_header(size=1 << 30, kind=b"x"), "extended header in it has"),
        (_header(size=1 << 30, kind=b"L"), "extended header in it has"),
        (_header(size=512, kind=b"x") + b"99 path=x\n" + bytes(502), "not well formed"),
        (_header(size=512, kind=b"x") + b"0 path=x\n" + bytes(503), "not well formed"),
        (_header(size=512, kind=b"x") + b"5" * 512, "not well formed"),
    ],
)
def test_what_is_no_archive_of_a_layout_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)

    with pytest.raises(ManifestInvalid, match=reason):
        TarSource(tmp_path / "x.tar", files=Files())


def test_hostile_counts_are_refused(tmp_path: Path) -> None:
    header = _header("a", kind=b"5")

    with pytest.raises(ManifestInvalid, match="more than 20000 members"):
        members(lambda _at, _length: header, 512 * 200_000, what="x")


@pytest.mark.parametrize("index", [b"", b"{}", b"[" * 100_000, b'{"schemaVersion": 1, "manifests": []}'])
def test_a_hostile_index_is_refused(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        TarSource(_tar(tmp_path / "x.tar", index=index), files=Files())


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="layout version '2"):
        TarSource(_tar(tmp_path / "x.tar", layout=b'{"imageLayoutVersion": "2.0.0"}'), files=Files())


def test_a_blob_of_another_size_or_other_bytes_is_refused(tmp_path: Path) -> None:
    blob = blob_of(b"weights")
    name = f"blobs/sha256/{blob.digest[7:]}"
    path = _tar(tmp_path / "x.tar", (_info(name, b"Weights"), b"Weights"))
    shorter = _tar(tmp_path / "y.tar", (_info(name, b"weight"), b"weight"))

    with TarSource(path, files=Files()) as archive, pytest.raises(DigestMismatch):
        archive.fetch(blob)
    with TarSource(shorter, files=Files()) as archive, pytest.raises(DigestMismatch), archive.open(blob):
        pass
    with TarSource(path, files=Files()) as archive, pytest.raises(ModelNotFound):
        archive.fetch(blob_of(b"other"))
