from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.errors import (
    InsufficientSpace,
    ManifestInvalid,
    ModelBroken,
    ModelNotFound,
    StoreFault,
    StoreInUse,
)
from appliance.store import names
from appliance.store.check import check, tree
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor
from appliance.store.files import Files
from appliance.store.gc import collect
from appliance.store.layout import Layout
from appliance.store.rebuild import recover_index
from appliance.store.reference import parse_reference
from appliance.store.scrub import Scrubber
from appliance.store.verified import SETTLED_AFTER_S
from tests.fakes.fake_models import FakeSource, blob_of, store_model
from tests.unit.store.layout_desk import NAME, Clock, blob_path, flip


def _reopen(root: Path) -> dict[str, tuple[int, str]]:
    Layout(root, files=Files()).close()
    return tree(root)


def test_recovery_removes_what_was_left_aside(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"weights")
        places = layout.places
    clean = tree(root)
    for path in (root / "index.json.tmp", places.ingest / "adopt-1.tmp", places.quarantine / "x.json.tmp"):
        path.write_bytes(b"left over")
    places.part(blob_of(b"stateless").digest).write_bytes(bytes(100))
    places.part_state(blob_of(b"partless").digest).write_bytes(b'{"size": 1, "durable": []}')
    places.part(blob_of(b"weights").digest).write_bytes(bytes(7))
    places.part_state(blob_of(b"weights").digest).write_bytes(b'{"size": 7, "durable": []}')

    assert _reopen(root) == clean
    assert check(root) == []


def test_recovery_twice_is_recovery_once(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"weights")
        layout.quarantine(blob_of(b"weights").digest, "lost")
        store_model(layout, "other", b"more")
    (root / "ingest" / "x.tmp").write_bytes(b"")

    assert _reopen(root) == _reopen(root)


def test_a_part_survives_recovery(root: Path) -> None:
    source = FakeSource(fail_after=4000)
    blob = source.add(os.urandom(10_000))
    with Layout(root, files=Files()) as layout, pytest.raises(ModelNotFound):
        layout.take(blob, source, unreported)

    with Layout(root, files=Files()) as layout:
        layout.take(blob, source, unreported)

    assert source.served == [(0, 10_000), (4000, 10_000)]


def test_the_repair_of_a_truncated_blob_is_resumed(root: Path) -> None:
    source = FakeSource(fail_after=4000)
    content = os.urandom(10_000)
    blob = source.add(content)
    with Layout(root, files=Files()) as layout:
        path = layout.places.blob(blob.digest)
        path.write_bytes(content[:6000])
        with pytest.raises(ModelNotFound):
            layout.take(blob, source, unreported)

    with Layout(root, files=Files()) as layout:
        layout.take(blob, source, unreported)

    assert source.served == [(0, 10_000), (4000, 10_000)]
    assert path.read_bytes() == content
    assert check(root) == []


def test_a_quarantine_that_was_interrupted_is_decided_by_hashing(root: Path) -> None:
    """The reason was written, the blob not yet moved; one of the two is sound after all."""
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"sound", b"rotten")
        flip(blob_path(layout, b"rotten"))
        for content in (b"sound", b"rotten"):
            layout.places.quarantine_reason(blob_of(content).digest).write_bytes(
                b'{"digest": "", "reason": "?"}'
            )

    with Layout(root, files=Files()) as layout:
        layout.path(blob_of(b"sound").digest)
        with pytest.raises(ModelBroken, match="has changed"):
            layout.path(blob_of(b"rotten").digest)


@pytest.mark.parametrize("damage", [b"\x00" * 300, b"", None], ids=["zeroed", "emptied", "gone"])
def test_a_lost_index_loses_no_name_not_even_the_newest(root: Path, damage: bytes | None) -> None:
    with Layout(root, files=Files()) as layout:
        first = store_model(layout, "tiny", b"weights")
        store_model(layout, "gone", b"gone weights")
        layout.untag(parse_reference("gone"))
        second = store_model(layout, "other", b"more")
    (root / "index.json").unlink()
    if damage is not None:
        (root / "index.json").write_bytes(damage)

    names = recover_index(root, files=Files())

    assert names[:2] == [f"registry.ollama.ai/library/{name}:latest" for name in ("tiny", "other")]
    assert all("/recovered-" in name for name in names[2:])  # what was removed and not collected
    with Layout(root, files=Files()) as layout:
        assert layout.lookup(NAME) == first.descriptor
        assert layout.lookup(parse_reference("other")).digest == second.descriptor.digest
    assert (root / "index.json.copy").read_bytes() == (root / "index.json").read_bytes()


def _without_copies(root: Path, fault: Exception) -> Files:
    class _Files(Files):
        def write_aside(self, path: Path, content: bytes) -> None:
            if path == root / "index.json.copy":
                raise fault
            super().write_aside(path, content)

    return _Files()


def test_a_name_whose_copy_the_disk_refused_is_there_and_the_next_start_copies_it(root: Path) -> None:
    full = InsufficientSpace(needed_bytes=1, available_bytes=0, floor_bytes=0, directory="d")
    with Layout(root, files=_without_copies(root, full)) as layout:
        store_model(layout, "tiny", b"weights")
    assert not (root / "index.json.copy").exists()

    with Layout(root, files=Files()) as layout:
        layout.lookup(NAME)
        assert (root / "index.json.copy").read_bytes() == (root / "index.json").read_bytes()


def test_a_damaged_index_is_never_copied(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"weights")
    copy = (root / "index.json.copy").read_bytes()
    (root / "index.json").write_bytes(b"\x00" * 300)

    with Layout(root, files=Files(), lenient=True):
        assert (root / "index.json.copy").read_bytes() == copy


def test_the_names_are_built_again_from_the_copy_and_from_manifests(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        first = store_model(layout, "tiny", b"weights")
    with Layout(root, files=_without_copies(root, StoreFault(path="d", reason="?"))) as layout:
        second = store_model(layout, "other", b"more")
    (root / "index.json").write_bytes(b"\x00" * 300)

    names = recover_index(root, files=Files())

    recovered = f"recovered-{second.descriptor.digest[7:19]}"
    assert names == [
        "registry.ollama.ai/library/tiny:latest",
        f"registry.ollama.ai/library/{recovered}:latest",
    ]
    with Layout(root, files=Files()) as layout:
        assert layout.lookup(NAME) == first.descriptor
        assert layout.lookup(parse_reference(recovered)).digest == second.descriptor.digest
        with pytest.raises(StoreInUse):
            recover_index(root, files=Files())
    assert (root / "quarantine" / "index.json.damaged").read_bytes() == b"\x00" * 300


class Counting(Files):
    """Counts the blobs that are read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def open_existing(self, path: Path) -> int:
        self.read.append(path.name)
        return super().open_existing(path)


def _blobs_read_after(root: Path, blob: Descriptor) -> int:
    files = Counting()
    with Layout(root, files=files) as layout:
        layout.path(blob.digest)
    return len(files.read)


def test_after_a_clean_stop_nothing_is_read_again(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"content", "text/plain")

    assert _blobs_read_after(root, blob) == 0


def test_after_an_unclean_stop_what_is_fresh_is_read_again(root: Path) -> None:
    layout = Layout(root, files=Files())
    blob = layout.put(b"content", "text/plain")
    layout._lock.close()  # type: ignore[union-attr]

    assert _blobs_read_after(root, blob) == 1
    assert _blobs_read_after(root, blob) == 0


def test_after_an_unclean_stop_what_has_settled_is_believed(root: Path, clock: Clock) -> None:
    layout = Layout(root, files=Files(), monotonic=clock)
    blob = layout.put(b"content", "text/plain")
    clock.now += SETTLED_AFTER_S
    layout.settle()
    layout._lock.close()  # type: ignore[union-attr]

    assert _blobs_read_after(root, blob) == 0


def test_a_damaged_memory_costs_nothing_but_reading(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"content", "text/plain")
    (root / "verified.json").write_bytes(b"\x00\xff{")

    assert _blobs_read_after(root, blob) == 1


def test_check_names_each_violation(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "flipped", b"flipped weights")
        store_model(layout, "missing", b"missing weights")
        flip(blob_path(layout, b"flipped weights"))
        blob_path(layout, b"missing weights").unlink()
        (layout.places.blobs / "stray").write_bytes(b"")
        (layout.places.ingest / "old.tmp").write_bytes(b"")
        layout.places.quarantined(blob_of(b"q").digest).write_bytes(b"q")

    found = sorted(
        violation[:2] for violation in check(root, expected=[("gone:latest", blob_of(b"").digest)])
    )

    assert found == ["I3", "I4", "I5", "I6", "I6", "I7", "I7"]


def test_check_of_what_is_no_layout_says_so(tmp_path: Path) -> None:
    assert check(tmp_path / "absent")[0].startswith("I1")
    with pytest.raises(ManifestInvalid):
        Layout(tmp_path, files=Files(), read_only=True)


@pytest.mark.parametrize("damage", ["zeroed", "gone"])
def test_a_lenient_layout_opens_without_its_index_writes_nothing_and_can_build_it_again(
    root: Path, damage: str
) -> None:
    with Layout(root, files=Files()) as layout:
        first = store_model(layout, "tiny", b"weights")
        store_model(layout, "other", b"more")
    index = root / "index.json"
    index.unlink()
    if damage == "zeroed":
        index.write_bytes(bytes(300))
    blobs = tree(root / "blobs")

    with Layout(root, files=Files(), lenient=True) as layout:
        for verb in (layout.references, lambda: collect(layout), lambda: layout.lookup(NAME)):
            with pytest.raises(StoreFault, match="outpost verify --rebuild-index"):
                verb()
        with pytest.raises(StoreFault, match="outpost verify --rebuild-index"):
            store_model(layout, "tiny", b"weights")
        assert tree(root / "blobs") == blobs

        names = layout.rebuild_index()

        assert names is not None
        assert len(names) == 2
        assert layout.lookup(NAME) == first.descriptor
        assert layout.rebuild_index() is None
    assert check(root) == []


def test_a_scrub_finds_and_keeps_apart_what_is_broken_while_the_index_is_lost(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"weights")
        flip(blob_path(layout, b"weights"))
    (root / "index.json").unlink()

    with Layout(root, files=Files(), lenient=True) as layout:
        (broken,) = Scrubber(layout).step(1 << 20).broken
        assert (broken.digest, broken.models) == (blob_of(b"weights").digest, ())
        layout.rebuild_index()
        ((_, descriptor),) = layout.references()
        assert "has changed" in str(layout.broken(descriptor))


def test_a_name_that_would_make_the_index_too_large_to_be_read_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"weights")
        before = layout.places.index.read_bytes()
        monkeypatch.setattr(names, "MAX_INDEX_BYTES", len(before))
        with pytest.raises(StoreFault, match="outpost rm"):
            store_model(layout, "other", b"more")
        assert layout.places.index.read_bytes() == before
        assert [reference.display for reference, _ in layout.references()] == ["tiny:latest"]
        layout.untag(parse_reference("tiny"))
