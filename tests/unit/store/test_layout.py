from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from appliance.errors import (
    DigestMismatch,
    InsufficientSpace,
    ManifestInvalid,
    ModelNotFound,
    StoreFault,
    StoreInUse,
)
from appliance.store.check import check, tree
from appliance.store.content import Progress, unreported
from appliance.store.descriptor import Descriptor, ImageIndex, Resolved
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.manifest import render_index
from appliance.store.media_types import OCI_INDEX
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import FakeSource, blob_of, store_model
from tests.unit.store.layout_desk import open_layout

_NAME = parse_reference("tiny")


def test_a_new_store_is_an_empty_oci_layout(layout: Layout, root: Path) -> None:
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((root / "index.json").read_text()) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }
    assert check(root) == []


def test_a_store_that_is_open_cannot_be_opened_again(layout: Layout, root: Path) -> None:
    with pytest.raises(StoreInUse):
        open_layout(root)


def test_a_closed_store_can_be_opened_again(root: Path) -> None:
    open_layout(root).close()
    open_layout(root).close()


def test_an_index_that_cannot_be_read_is_refused_and_left_as_it_is(root: Path) -> None:
    open_layout(root).close()
    (root / "index.json").write_bytes(b"\x00" * 200)

    with pytest.raises(ManifestInvalid, match=r"index\.json"):
        open_layout(root)

    assert (root / "index.json").read_bytes() == b"\x00" * 200
    with pytest.raises(ManifestInvalid):
        open_layout(root)  # the lock was given back


def test_a_lost_index_with_blobs_is_refused(root: Path) -> None:
    with open_layout(root) as layout:
        store_model(layout, "tiny", b"weights")
    (root / "index.json").unlink()

    with pytest.raises(StoreFault, match=r"index\.json is missing"):
        open_layout(root)


def test_a_portable_layout_is_left_with_nothing_but_the_layout(tmp_path: Path) -> None:
    with Layout(tmp_path / "stick", files=Files(), portable=True) as layout:
        store_model(layout, "tiny", b"weights")

    assert sorted(path.name for path in (tmp_path / "stick").iterdir()) == [
        "blobs",
        "index.json",
        "oci-layout",
    ]
    assert check(tmp_path / "stick") == []


def test_a_published_model_is_found_and_survives_reopening(root: Path) -> None:
    with open_layout(root) as layout:
        resolved = store_model(layout, "tiny", b"weights")

    with open_layout(root) as layout:
        assert layout.references() == [(_NAME, resolved.descriptor)]
        assert layout.lookup(_NAME) == resolved.descriptor
        assert layout.resolve(_NAME) == resolved
    assert check(root, expected=[(_NAME.key, resolved.descriptor.digest)]) == []


def test_names_are_found_whatever_their_case(layout: Layout) -> None:
    resolved = store_model(layout, "Tiny:V1", b"weights")

    assert layout.lookup(parse_reference("tiny:v1")) == resolved.descriptor


def test_a_name_that_is_not_there_tells_what_is(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")

    with pytest.raises(ModelNotFound, match="'other:latest' not found; available: tiny:latest"):
        layout.lookup(parse_reference("other"))


def test_a_name_moves_to_another_manifest(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", b"first")
    second = store_model(layout, "tiny", b"second")

    assert [descriptor for _, descriptor in layout.references()] == [second.descriptor]
    assert check(root) == []


def test_a_removed_name_is_gone_and_others_stay(layout: Layout) -> None:
    store_model(layout, "tiny", b"shared")
    store_model(layout, "other", b"shared")

    layout.untag(_NAME)

    assert [reference.display for reference, _ in layout.references()] == ["other:latest"]
    with pytest.raises(ModelNotFound):
        layout.untag(_NAME)


def test_a_manifest_is_found_by_its_digest(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")

    assert layout.lookup(_NAME.with_digest(resolved.descriptor.digest)) == resolved.descriptor
    with pytest.raises(ModelNotFound):
        layout.lookup(_NAME.with_digest(blob_of(b"weights").digest))


def test_a_name_with_a_digest_goes_only_where_it_stands_for_that_content(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    other = store_model(layout, "other", b"more").descriptor.digest

    for wrong in (other, blob_of(b"nothing").digest):
        with pytest.raises(ModelNotFound):
            layout.untag(_NAME.with_digest(wrong))
        with pytest.raises(ModelNotFound):
            layout.lookup(_NAME.with_digest(wrong))

    layout.untag(_NAME.with_digest(resolved.descriptor.digest))
    assert [reference.display for reference, _ in layout.references()] == ["other:latest"]


def test_entries_of_other_tools_are_kept(root: Path) -> None:
    with open_layout(root) as layout:
        resolved = store_model(layout, "tiny", b"weights")
    index = json.loads((root / "index.json").read_text())
    digest = resolved.descriptor.digest
    foreign = {
        "mediaType": resolved.descriptor.media_type,
        "digest": digest,
        "size": resolved.descriptor.size,
    }
    index["manifests"] += [
        {**foreign, "platform": {"os": "linux", "architecture": "arm64"}},
        {**foreign, "annotations": {"org.opencontainers.image.ref.name": "../no model"}},
    ]
    (root / "index.json").write_text(json.dumps(index))

    with open_layout(root) as layout:
        store_model(layout, "other", b"more")
        names = [entry.name for entry in layout.entries()]

    assert names[1:3] == [None, "../no model"]
    written = json.loads((root / "index.json").read_text())["manifests"]
    assert {"os": "linux", "architecture": "arm64"} in [entry.get("platform") for entry in written]


def test_a_manifest_whose_blobs_are_not_there_is_not_published(layout: Layout) -> None:
    resolved = FakeSource().add_model("tiny", b"weights")

    with pytest.raises(ManifestInvalid, match="missing"):
        layout.publish(_NAME, resolved)

    assert layout.references() == []


def test_a_manifest_that_is_not_its_digest_is_not_published(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    forged = Resolved(descriptor=resolved.descriptor, content=resolved.content + b" ")

    with pytest.raises(DigestMismatch):
        layout.publish(_NAME, forged)


def test_an_index_of_variants_is_published_with_those_that_are_here(layout: Layout, root: Path) -> None:
    here = store_model(layout, "tiny:q4", b"small").descriptor
    absent = FakeSource().add_model("tiny:q8", b"large").descriptor
    resolved = _index_of(here, absent)

    layout.publish(_NAME, resolved)

    assert layout.lookup(_NAME) == resolved.descriptor
    assert layout.lookup(_NAME.with_digest(here.digest)) == here
    with pytest.raises(ModelNotFound):
        layout.lookup(_NAME.with_digest(absent.digest))
    assert check(root) == []


def test_an_index_without_any_variant_is_not_published(layout: Layout) -> None:
    with pytest.raises(ManifestInvalid, match="none of its variants is here"):
        layout.publish(_NAME, _index_of(FakeSource().add_model("tiny:q8", b"large").descriptor))


def _index_of(*manifests: Descriptor) -> Resolved:
    content = render_index(ImageIndex(media_type=OCI_INDEX, manifests=manifests))
    descriptor = Descriptor(media_type=OCI_INDEX, digest=digest_of(content), size=len(content))
    return Resolved(descriptor=descriptor, content=content)


def test_a_blob_that_is_there_is_not_fetched_again(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    source = FakeSource()
    blob = source.add(b"weights")

    layout.take(blob, source, unreported)

    assert source.served == []
    assert layout.has(blob)


def test_a_broken_off_blob_is_resumed(layout: Layout) -> None:
    content = os.urandom(10_000)
    source = FakeSource(fail_after=4000)
    blob = source.add(content)
    with pytest.raises(ModelNotFound):
        layout.take(blob, source, unreported)
    assert not layout.has(blob)

    layout.take(blob, source, unreported)

    assert source.served == [(0, 10_000), (4000, 10_000)]
    assert layout.path(blob.digest).read_bytes() == content


def test_wrong_bytes_are_refused_and_not_kept(layout: Layout, root: Path) -> None:
    source = FakeSource()
    blob = source.add(b"good bytes")
    source.contents[blob.digest] = b"evil bytes"

    with pytest.raises(DigestMismatch):
        layout.take(blob, source, unreported)

    assert list((root / "ingest").iterdir()) == []
    assert not layout.has(blob)


def test_a_report_that_raises_stops_the_work_and_what_came_is_kept(layout: Layout) -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        if progress.completed_bytes is None:
            raise Cancelled

    source = FakeSource()
    blob = source.add(b"0123456789")

    with pytest.raises(Cancelled):
        layout.take(blob, source, cancel)

    layout.take(blob, source, unreported)
    assert source.served == [(0, 10)]


def test_two_takers_of_one_blob_fetch_it_once(layout: Layout) -> None:
    source = FakeSource(chunk=10)
    blob = source.add(bytes(5000))
    takers = [threading.Thread(target=layout.take, args=(blob, source, unreported)) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()

    assert source.served == [(0, 5000)]
    assert layout.path(blob.digest).stat().st_size == 5000


def test_a_blob_the_disk_cannot_hold_is_refused_before_the_first_byte(layout: Layout, root: Path) -> None:
    source = FakeSource()
    blob = Descriptor(media_type="x", digest=digest_of(b"huge"), size=1 << 50)

    with pytest.raises(InsufficientSpace):
        layout.take(blob, source, unreported)

    assert source.served == []
    assert list((root / "ingest").iterdir()) == []


def test_a_small_blob_is_put_once(layout: Layout) -> None:
    first = layout.put(b"{}", "application/json")
    before = layout.path(first.digest).stat()

    assert layout.put(b"{}", "application/json") == first
    assert layout.path(first.digest).stat() == before


def test_a_layout_opened_for_reading_takes_nothing(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", b"weights")
    before = tree(root)
    foreign = Layout(root, files=Files(), read_only=True)

    with pytest.raises(StoreFault, match="for reading only"):
        foreign.put(b"{}", "application/json")
    with pytest.raises(StoreFault, match="for reading only"):
        foreign.reserve(1)
    foreign.quarantine(blob_of(b"weights").digest, "no")
    foreign.close()

    assert tree(root) == before


def test_a_layout_copies_to_another(layout: Layout, tmp_path: Path) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    source = Layout(layout.root, files=Files(), read_only=True)
    with Layout(tmp_path / "stick", files=Files(), portable=True) as stick:
        blobs = [
            blob
            for digest, blob in source.closure(resolved.descriptor).items()
            if digest != resolved.descriptor.digest
        ]
        with stick.expect(blobs):
            for blob in blobs:
                stick.take(blob, source, unreported)
            stick.publish(_NAME, source.resolve(_NAME))

    assert check(tmp_path / "stick", expected=[(_NAME.key, resolved.descriptor.digest)]) == []
