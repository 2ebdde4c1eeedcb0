"""Scrub, verify, gc, recovery, check: what keeps a layout well."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
from appliance.store.check import check, tree
from appliance.store.content import Progress, unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.gc import LEFTOVER_S, PROTECTED_S, collect
from appliance.store.layout import Layout
from appliance.store.rebuild import recover_index
from appliance.store.reference import parse_reference
from appliance.store.scrub import Scrubber, verify
from appliance.store.verified import SETTLED_AFTER_S
from tests.fakes.fake_models import FakeSource, blob_of, store_model

_NAME = parse_reference("tiny")


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def layout(root: Path, clock: Clock) -> Iterator[Layout]:
    with Layout(root, files=Files(), monotonic=clock) as opened:
        yield opened


def _path(layout: Layout, content: bytes) -> Path:
    return layout.places.blob(blob_of(content).digest)


def _flip(path: Path) -> None:
    """One bit, size and time as before: only reading finds it."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _now(layout: Layout) -> float:
    return layout.places.index.stat().st_ctime


# ── scrub and verify ────────────────────────────────────────────────────────────────────────────────


def test_a_sound_store_is_read_once_round(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", bytes(3000))

    report = Scrubber(layout).step(1 << 20)

    assert report.round_finished
    assert report.broken == ()
    assert report.blobs == 3
    assert report.read_bytes == 3000 + 2 + resolved.descriptor.size


def test_a_flipped_bit_is_found_by_one_scrub_and_breaks_the_models_that_need_it(layout: Layout) -> None:
    store_model(layout, "tiny", b"shared weights")
    store_model(layout, "other", b"shared weights", config=b'{"a":1}')
    store_model(layout, "well", b"own weights")
    _flip(_path(layout, b"shared weights"))
    layout.lookup(_NAME)

    report = Scrubber(layout).step(1 << 20)

    (broken,) = report.broken
    assert broken.digest == blob_of(b"shared weights").digest
    assert "has changed" in broken.reason
    assert [model.display for model in broken.models] == ["other:latest", "tiny:latest"]
    with pytest.raises(ModelBroken, match="has changed"):
        layout.lookup(_NAME)
    layout.lookup(parse_reference("well"))


@pytest.mark.parametrize(
    ("content", "reason"), [(bytes(14), "is zeroed"), (b"shared", "is truncated: 6 of 14")]
)
def test_the_report_says_what_happened_to_a_blob(layout: Layout, content: bytes, reason: str) -> None:
    store_model(layout, "tiny", b"shared weights")
    path = _path(layout, b"shared weights")
    path.chmod(0o644)
    path.write_bytes(content)

    (broken,) = Scrubber(layout).step(1 << 20).broken

    assert reason in broken.reason


def test_a_scrub_in_small_steps_reads_every_blob_once(layout: Layout) -> None:
    store_model(layout, "tiny", os.urandom(3000), os.urandom(2000))
    scrubber = Scrubber(layout)

    reports = [scrubber.step(700)]
    while not reports[-1].round_finished:
        reports.append(scrubber.step(700))

    assert sum(report.blobs for report in reports) == 4
    assert all(report.read_bytes <= 700 for report in reports)
    assert len(reports) >= 7


def test_a_scrub_goes_on_after_a_restart_where_it_was(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", os.urandom(1000), os.urandom(1000))
        scrubber = Scrubber(layout)
        first = scrubber.step(1)
        while not first.blobs:
            first = scrubber.step(1000)
        scrubber.close()

    with Layout(root, files=Files()) as layout:
        rest = Scrubber(layout).step(1 << 20)

    assert first.blobs + rest.blobs == 4
    assert rest.round_finished


def test_the_round_after_a_round_begins_anew(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    scrubber = Scrubber(layout)

    assert [scrubber.step(1 << 20).blobs for _ in range(2)] == [3, 3]


def test_a_blob_removed_while_it_is_scrubbed_is_no_loss(layout: Layout) -> None:
    store_model(layout, "tiny", os.urandom(5000))
    scrubber = Scrubber(layout)
    while scrubber._current is None or scrubber._current.found.st_size < 5000:
        scrubber.step(10)
    layout.untag(_NAME)
    collect(layout)

    report = scrubber.step(1 << 20)

    assert report.broken == ()


def test_verify_names_everything_that_is_broken(layout: Layout) -> None:
    store_model(layout, "tiny", b"first weights", b"second weights")
    store_model(layout, "other", b"other weights")
    _flip(_path(layout, b"first weights"))
    _path(layout, b"second weights").unlink()
    _flip(_path(layout, b"other weights"))

    broken = verify(layout, _NAME)

    assert sorted(found.digest for found in broken) == sorted(
        blob_of(w).digest for w in (b"first weights", b"second weights")
    )
    assert len(verify(layout, None)) == 3
    with pytest.raises(ModelNotFound):
        verify(layout, parse_reference("absent"))


def test_verify_tells_how_far_it_is(layout: Layout) -> None:
    store_model(layout, "tiny", bytes(1000))
    news: list[Progress] = []

    assert verify(layout, _NAME, news.append) == ()

    assert news[-1].completed_bytes == news[-1].total_bytes
    assert news[-1].status.startswith("verifying ")


# ── gc ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_name_has_let_go_of_is_collected_at_once(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", bytes(10_000), b"shared")
    store_model(layout, "other", b"shared")
    layout.untag(_NAME)

    report = collect(layout)

    assert blob_of(bytes(10_000)).digest in report.blobs
    assert len(report.blobs) == 2  # the weights and the manifest; config and `shared` are needed
    assert report.freed_bytes >= 10_000
    assert check(root) == []
    layout.lookup(parse_reference("other"))


def test_a_dry_run_removes_nothing(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(_NAME)
    before = tree(root)

    report = collect(layout, dry_run=True)

    assert len(report.blobs) == 3
    assert tree(root) == before


def test_a_blob_that_was_taken_and_not_yet_named_stays_an_hour(layout: Layout, clock: Clock) -> None:
    source = FakeSource()
    blob = source.add(b"on its way")
    layout.take(blob, source, unreported)

    assert collect(layout, now=_now(layout) + PROTECTED_S + 1).blobs == ()
    clock.now += PROTECTED_S + 1
    assert collect(layout, now=_now(layout)).blobs == ()
    assert collect(layout, now=_now(layout) + PROTECTED_S + 1).blobs == (blob.digest,)


def test_a_blob_that_is_held_stays(layout: Layout, clock: Clock) -> None:
    blob = layout.put(b"held", "text/plain")
    clock.now += PROTECTED_S + 1

    with layout.hold([blob.digest]):
        assert collect(layout, now=_now(layout) + 2 * PROTECTED_S).blobs == ()

    assert collect(layout, now=_now(layout) + 2 * PROTECTED_S).blobs == (blob.digest,)


def test_a_blob_that_was_promised_to_a_copy_stays(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(_NAME)
    assert layout.has(blob_of(b"weights"))

    assert blob_of(b"weights").digest not in collect(layout).blobs


def test_after_a_restart_unnamed_blobs_stay_an_hour(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"no name", "text/plain")

    with Layout(root, files=Files()) as layout:
        assert collect(layout).blobs == ()
        assert collect(layout, now=_now(layout) + PROTECTED_S + 1).blobs == (blob.digest,)


def test_nothing_goes_while_a_manifest_cannot_be_read(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    layout.quarantine(resolved.descriptor.digest, "lost")
    layout.graph._children.clear()

    report = collect(layout, now=_now(layout) + 10 * PROTECTED_S)

    assert report.blobs == ()
    assert report.withheld
    assert "tiny" in report.withheld[0]


def test_parts_nobody_came_back_for_go_after_a_week(layout: Layout) -> None:
    source = FakeSource(fail_after=4000)
    blob = source.add(os.urandom(10_000))
    with pytest.raises(ModelNotFound):
        layout.take(blob, source, unreported)

    assert collect(layout).leftovers == ()
    report = collect(layout, now=_now(layout) + LEFTOVER_S + 60)

    assert report.leftovers == (blob.digest,)
    assert list(layout.places.ingest.iterdir()) == []


def test_old_quarantine_gives_its_bytes_back_and_keeps_the_reason_while_it_is_needed(layout: Layout) -> None:
    store_model(layout, "tiny", bytes(9000))
    digest = blob_of(bytes(9000)).digest
    layout.quarantine(digest, "the disk has lost it")

    collect(layout, now=_now(layout) + LEFTOVER_S + 60)

    assert not layout.places.quarantined(digest).exists()
    with pytest.raises(ModelBroken, match="the disk has lost it"):
        layout.lookup(_NAME)
    layout.untag(_NAME)
    collect(layout, now=_now(layout) + LEFTOVER_S + 60)
    assert list(layout.places.quarantine.iterdir()) == []


# ── recovery ────────────────────────────────────────────────────────────────────────────────────────


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


def test_a_quarantine_that_was_interrupted_is_decided_by_hashing(root: Path) -> None:
    """The reason was written, the blob not yet moved; one of the two is sound after all."""
    with Layout(root, files=Files()) as layout:
        store_model(layout, "tiny", b"sound", b"rotten")
        _flip(_path(layout, b"rotten"))
        for content in (b"sound", b"rotten"):
            layout.places.quarantine_reason(blob_of(content).digest).write_bytes(
                b'{"digest": "", "reason": "?"}'
            )

    with Layout(root, files=Files()) as layout:
        layout.path(blob_of(b"sound").digest)
        with pytest.raises(ModelBroken, match="has changed"):
            layout.path(blob_of(b"rotten").digest)


def test_the_names_are_built_again_from_the_index_before_and_from_manifests(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        first = store_model(layout, "tiny", b"weights")
        second = store_model(layout, "other", b"more")
    (root / "index.json").write_bytes(b"\x00" * 300)

    names = recover_index(root, files=Files())

    recovered = f"recovered-{second.descriptor.digest[7:19]}"
    assert names == [
        "registry.ollama.ai/library/tiny:latest",
        f"registry.ollama.ai/library/{recovered}:latest",
    ]
    with Layout(root, files=Files()) as layout:
        assert layout.lookup(_NAME) == first.descriptor
        assert layout.lookup(parse_reference(recovered)).digest == second.descriptor.digest
        with pytest.raises(StoreInUse):
            recover_index(root, files=Files())
    assert (root / "quarantine" / "index.json.damaged").read_bytes() == b"\x00" * 300


# ── verified, across restarts ───────────────────────────────────────────────────────────────────────


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


# ── space ───────────────────────────────────────────────────────────────────────────────────────────


def test_room_that_one_copy_expects_is_not_there_for_another(layout: Layout) -> None:
    free, floor = layout.space.free_bytes()
    half = Descriptor(media_type="x", digest=digest_of(b"half"), size=(free - floor) // 2 + (64 << 20))
    other = Descriptor(media_type="x", digest=digest_of(b"other"), size=half.size)

    with layout.expect([half]):
        with pytest.raises(InsufficientSpace, match="stay free"), layout.expect([other]):
            pass
        with layout.expect([half]):
            pass
    with layout.expect([other]):
        pass


def test_the_floor_stays_free(root: Path) -> None:
    with Layout(root, files=Files(), floor_fraction=1.0) as layout, pytest.raises(InsufficientSpace):
        layout.reserve(1)


# ── check ───────────────────────────────────────────────────────────────────────────────────────────


def test_check_names_each_violation(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        store_model(layout, "flipped", b"flipped weights")
        store_model(layout, "missing", b"missing weights")
        _flip(_path(layout, b"flipped weights"))
        _path(layout, b"missing weights").unlink()
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


def test_a_read_error_of_the_medium_quarantines_the_blob(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_model(layout, "tiny", b"weights")
    scrubber = Scrubber(layout)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("appliance.store.examine.os.pread", fail)
        with pytest.raises(StoreFault, match="Input/output error"):
            scrubber.step(1 << 20)

    assert scrubber.step(1 << 20).blobs == 2
