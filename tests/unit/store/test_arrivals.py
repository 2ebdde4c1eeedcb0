"""What was cut off on its way in: kept for the next try, told, and freed when somebody asks for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from appliance.errors import InsufficientSpace
from appliance.store.check import check, tree
from appliance.store.content import Progress, unreported
from appliance.store.descriptor import Descriptor
from appliance.store.gc import LEFTOVER_S, collect
from appliance.store.layout import Layout
from appliance.store.store import ModelStore
from tests.fakes.fake_models import FakeSource, store_model
from tests.fakes.model_files import generator
from tests.fakes.small_disk import SmallDisk
from tests.unit.store.layout_desk import Clock, half_arrived, index_time_s


@contextmanager
def arriving(layout: Layout, source: FakeSource, blob: Descriptor) -> Iterator[None]:
    """While it lasts, a thread is in the middle of taking it; it is whole afterwards."""
    begun, go_on = threading.Event(), threading.Event()

    def report(progress: Progress) -> None:
        if progress.completed_bytes:
            begun.set()
            assert go_on.wait(10)

    taker = threading.Thread(target=layout.take, args=(blob, source, report))
    taker.start()
    try:
        assert begun.wait(10)
        yield
    finally:
        go_on.set()
        taker.join()


def test_what_was_cut_off_is_told_beside_what_is_arriving(layout: Layout) -> None:
    half_arrived(layout)
    source = FakeSource()
    blob = source.add(os.urandom(20_000))

    with arriving(layout, source, blob):
        report = collect(layout, grace_s=0)

    assert (report.leftovers, report.cut_off.blobs, report.at_work.blobs) == ((), 1, 1)
    assert report.cut_off.size_bytes >= 10_000
    assert report.arrivals.blobs == 0


def test_what_nobody_came_back_for_goes_after_a_week(layout: Layout, clock: Clock) -> None:
    blob = half_arrived(layout)

    assert collect(layout).leftovers == ()
    clock.now += LEFTOVER_S + 60
    report = collect(layout, now=index_time_s(layout) + LEFTOVER_S + 60)

    assert report.leftovers == (blob.digest,)
    assert list(layout.places.ingest.iterdir()) == []


@pytest.mark.parametrize("taken_up", ["held", "busy"])
def test_what_is_taken_up_again_while_gc_finds_it_old_stays(
    layout: Layout, clock: Clock, monkeypatch: pytest.MonkeyPatch, taken_up: str
) -> None:
    blob = half_arrived(layout)
    before = sorted(layout.places.ingest.iterdir())
    with ExitStack() as work:

        def age_s(_ctime: float, _clock_s: float) -> float:
            """Somebody comes back for it between the look and the removal."""
            keeper = layout.hold([blob.digest]) if taken_up == "held" else layout.locks.alone(blob.digest)
            if len(keepers) == 0:
                keepers.append(work.enter_context(keeper))
            return LEFTOVER_S + 60

        keepers: list[object] = []
        monkeypatch.setattr(layout.ages, "age_s", age_s)
        report = collect(layout)

    assert len(keepers) == 1
    assert report.leftovers == ()
    assert sorted(layout.places.ingest.iterdir()) == before


def test_what_was_cut_off_goes_at_once_when_it_is_asked_for(layout: Layout, root: Path) -> None:
    source = FakeSource()
    blob = half_arrived(layout, source)

    report = collect(layout, arrivals=True)

    assert report.leftovers == (blob.digest,)
    assert (report.arrivals.blobs, report.cut_off.blobs) == (1, 0)
    assert report.freed_bytes == report.arrivals.size_bytes >= 10_000
    assert list(layout.places.ingest.iterdir()) == []
    assert check(root) == []
    source.fail_after = None
    layout.take(blob, source, unreported)
    assert source.served[-1] == (0, 10_000)


def test_what_is_old_anyway_is_counted_once(layout: Layout, clock: Clock) -> None:
    half_arrived(layout)
    clock.now += LEFTOVER_S + 60

    for dry_run in (True, False):
        later_s = index_time_s(layout) + LEFTOVER_S + 60
        report = collect(layout, now=later_s, arrivals=True, dry_run=dry_run)
        assert (len(report.leftovers), report.arrivals.blobs, report.cut_off.blobs) == (1, 0, 0)


def test_a_trial_tells_what_would_go_and_leaves_it(layout: Layout, root: Path) -> None:
    half_arrived(layout)
    before = tree(root)

    report = collect(layout, arrivals=True, dry_run=True)

    assert (report.arrivals.blobs, report.cut_off.blobs) == (1, 0)
    assert tree(root) == before


def test_what_is_arriving_never_goes(layout: Layout) -> None:
    source = FakeSource()
    blob = source.add(os.urandom(10_000))

    with arriving(layout, source, blob):
        report = collect(layout, arrivals=True)
        assert (report.leftovers, report.arrivals.blobs, report.at_work.blobs) == ((), 0, 1)

    assert layout.path(blob.digest).stat().st_size == 10_000


def test_what_a_copy_expects_and_has_not_come_to_never_goes(layout: Layout) -> None:
    blob = half_arrived(layout)

    with layout.expect([blob]):
        report = collect(layout, arrivals=True)

    assert (report.arrivals.blobs, report.at_work.blobs) == (0, 1)
    assert layout.places.part(blob.digest).exists()


def test_what_is_taken_up_while_it_is_dropped_stays(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = half_arrived(layout)
    locks = layout.locks
    monkeypatch.setattr(locks, "busy", frozenset)  # as it was a moment ago

    with locks.alone(blob.digest):
        assert collect(layout, arrivals=True).arrivals.blobs == 0

    assert layout.places.part(blob.digest).exists()


# ── where the disk is full ──────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_names_what_was_cut_off_as_the_next_step(store: ModelStore) -> None:
    disk = SmallDisk(store.layout.places, 0.0)
    store.layout.space, disk.free = disk, 1000
    with pytest.raises(InsufficientSpace) as plain:
        store.import_file(generator(), "tiny", unreported)
    half_arrived_on(store, disk)

    with pytest.raises(InsufficientSpace, match="outpost gc --arrivals") as named:
        store.import_file(generator(), "tiny", unreported)

    assert "--arrivals" not in plain.value.message
    assert named.value.fields["arrivals_bytes"] >= 10_000
    assert store.gc(arrivals=True).arrivals.size_bytes == named.value.fields["arrivals_bytes"]


def half_arrived_on(store: ModelStore, disk: SmallDisk) -> None:
    free, disk.free = disk.free, 1 << 30
    half_arrived(store.layout)
    disk.free = free


def test_a_full_stick_does_not_name_what_the_store_holds(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_model(store.layout, "tiny", b"weights")
    half_arrived(store.layout)
    full = InsufficientSpace(needed_bytes=2, available_bytes=1, floor_bytes=0, directory=str(tmp_path))

    def fail(*_: object) -> None:
        raise full

    monkeypatch.setattr(store.layout, "fetch", fail)
    with pytest.raises(InsufficientSpace) as told:
        store.copy("tiny", "other")

    assert told.value is full
