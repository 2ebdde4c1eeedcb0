from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from appliance.errors import (
    InsufficientSpace,
    ModelBroken,
)
from appliance.store.age import Ages
from appliance.store.check import check, tree
from appliance.store.content import unreported
from appliance.store.copy import copy
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.files import Files
from appliance.store.gc import LEFTOVER_S, GcReport, collect
from appliance.store.kept import PROTECTED_S
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from tests.fakes.fake_models import FakeSource, blob_of, store_model
from tests.unit.store.layout_desk import NAME, Clock, blob_path, half_arrived, index_time_s


def test_what_a_name_has_let_go_of_is_collected_at_once(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", bytes(10_000), b"shared")
    store_model(layout, "other", b"shared")
    layout.untag(NAME)

    report = collect(layout)

    assert blob_of(bytes(10_000)).digest in report.blobs
    assert len(report.blobs) == 2  # the weights and the manifest; config and `shared` are needed
    assert report.freed_bytes >= 10_000
    assert check(root) == []
    layout.lookup(parse_reference("other"))


def test_what_a_runner_has_open_stays_until_it_ends(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(NAME)
    served = blob_path(layout, b"weights")

    report = collect(layout, in_use={str(served)})

    assert served.exists()
    assert blob_of(b"weights").digest not in report.blobs
    collect(layout)
    assert not served.exists()


def test_a_dry_run_removes_nothing(layout: Layout, root: Path) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(NAME)
    before = tree(root)

    report = collect(layout, dry_run=True)

    assert len(report.blobs) == 3
    assert tree(root) == before


def test_a_blob_that_was_taken_and_not_yet_named_stays_an_hour(layout: Layout, clock: Clock) -> None:
    source = FakeSource()
    blob = source.add(b"on its way")
    layout.take(blob, source, unreported)

    assert collect(layout, now=index_time_s(layout) + PROTECTED_S + 1).blobs == ()
    clock.now += PROTECTED_S + 60
    assert collect(layout, now=index_time_s(layout)).blobs == ()
    assert collect(layout, now=index_time_s(layout) + PROTECTED_S + 1).blobs == (blob.digest,)


def test_a_blob_that_is_held_stays(layout: Layout, clock: Clock) -> None:
    blob = layout.put(b"held", "text/plain")
    clock.now += PROTECTED_S + 1

    with layout.hold([blob.digest]):
        assert collect(layout, now=index_time_s(layout) + 2 * PROTECTED_S).blobs == ()

    assert collect(layout, now=index_time_s(layout) + 2 * PROTECTED_S).blobs == (blob.digest,)


def test_a_blob_that_was_promised_to_a_copy_stays(layout: Layout) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(NAME)
    assert layout.has(blob_of(b"weights"))

    assert blob_of(b"weights").digest not in collect(layout).blobs


def test_after_a_restart_unnamed_blobs_stay_an_hour(root: Path, clock: Clock) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"no name", "text/plain")

    with Layout(root, files=Files(), monotonic=clock) as layout:
        assert collect(layout).blobs == ()
        clock.now += PROTECTED_S + 1
        assert collect(layout, now=index_time_s(layout) + PROTECTED_S + 1).blobs == (blob.digest,)


def test_the_report_says_what_is_too_young_and_for_how_long(root: Path, clock: Clock) -> None:
    with Layout(root, files=Files()) as layout:
        layout.put(bytes(5000), "text/plain")

    with Layout(root, files=Files(), monotonic=clock) as layout:
        clock.now += 600
        report = collect(layout, now=index_time_s(layout) + 600)

    assert (report.blobs, report.freed_bytes, report.at_work.blobs) == ((), 0, 0)
    assert report.young.blobs == 1
    assert report.young.size_bytes >= 5000
    assert report.young.first_in_s == report.young.last_in_s == pytest.approx(PROTECTED_S - 600, abs=60)


def test_without_a_grace_what_is_young_goes(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"no name", "text/plain")

    with Layout(root, files=Files()) as layout:
        kept = collect(layout, now=index_time_s(layout) + 60, grace_s=120)
        gone = collect(layout, now=index_time_s(layout) + 60, grace_s=0)

    assert (kept.blobs, kept.young.blobs) == ((), 1)
    assert (gone.blobs, gone.young.blobs) == ((blob.digest,), 0)


def test_a_clock_that_went_back_protects_nothing_for_longer_than_the_grace(root: Path) -> None:
    with Layout(root, files=Files()) as layout:
        blob = layout.put(b"no name", "text/plain")

    with Layout(root, files=Files()) as layout:
        before = index_time_s(layout) - 10 * PROTECTED_S
        assert collect(layout, now=before).young.last_in_s == PROTECTED_S
        assert collect(layout, now=before, grace_s=0).blobs == (blob.digest,)


def test_what_a_verb_under_way_has_touched_stays_without_any_grace(layout: Layout, clock: Clock) -> None:
    clock.now = 2000.0
    blob = layout.put(b"its name is on its way", "text/plain")
    clock.now = 9000.0

    report = collect(layout, grace_s=0, at_work_since_s=2000.0)
    assert (report.blobs, report.at_work.blobs, report.young.blobs) == ((), 1, 0)
    assert collect(layout, grace_s=0, at_work_since_s=2001.0).blobs == (blob.digest,)


@pytest.mark.parametrize("keeper", ["held", "busy", "open in a runner"])
def test_without_a_grace_what_is_at_work_stays(layout: Layout, clock: Clock, keeper: str) -> None:
    blob = layout.put(b"at work", "text/plain")
    clock.now += 1
    path = blob_path(layout, b"at work")
    keep = {"held": layout.hold([blob.digest]), "busy": layout.locks.alone(blob.digest)}.get(
        keeper, nullcontext()
    )

    with keep:
        in_use = {str(path)} if keeper == "open in a runner" else set()
        report = collect(layout, grace_s=0, in_use=in_use)

    assert (report.blobs, report.at_work.blobs) == ((), 1)
    assert report.at_work.size_bytes > 0
    assert path.exists()
    assert collect(layout, grace_s=0).blobs == (blob.digest,)


class _Collecting(Files):
    """Collects without a grace just before a name is written."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.layout: Layout | None = None
        self.reports: list[GcReport] = []

    def write_aside(self, path: Path, content: bytes) -> None:
        if self.layout is not None and path == self.layout.places.index:
            self.clock.now += 1
            self.reports.append(collect(self.layout, grace_s=0))
        super().write_aside(path, content)


def test_a_manifest_that_has_no_name_yet_stays_without_any_grace(root: Path, clock: Clock) -> None:
    files = _Collecting(clock)
    source = FakeSource()
    resolved = source.add_model("tiny", b"weights")
    with Layout(root, files=files, monotonic=clock) as layout:
        files.layout = layout
        copy(source, NAME, layout)

        assert [report.blobs for report in files.reports] == [()]
        assert layout.lookup(NAME).digest == resolved.descriptor.digest
    assert check(root) == []


def test_a_trial_without_a_grace_forgets_no_promise(layout: Layout, clock: Clock) -> None:
    store_model(layout, "tiny", b"weights")
    layout.untag(NAME)
    layout.has(blob_of(b"weights"))
    clock.now += 10

    collect(layout, dry_run=True, grace_s=0)

    later_s = index_time_s(layout) + 2 * PROTECTED_S
    assert blob_of(b"weights").digest not in collect(layout, now=later_s).blobs


def test_nothing_goes_while_a_manifest_cannot_be_read(layout: Layout) -> None:
    resolved = store_model(layout, "tiny", b"weights")
    layout.quarantine(resolved.descriptor.digest, "lost")
    layout.graph._children.clear()

    report = collect(layout, now=index_time_s(layout) + 10 * PROTECTED_S)

    assert report.blobs == ()
    assert report.withheld
    assert "tiny" in report.withheld[0]


def test_old_quarantine_gives_its_bytes_back_and_keeps_the_reason_while_it_is_needed(
    layout: Layout, clock: Clock
) -> None:
    store_model(layout, "tiny", bytes(9000))
    digest = blob_of(bytes(9000)).digest
    layout.quarantine(digest, "the disk has lost it")
    clock.now += LEFTOVER_S + 60

    collect(layout, now=index_time_s(layout) + LEFTOVER_S + 60)

    assert not layout.places.quarantined(digest).exists()
    with pytest.raises(ModelBroken, match="the disk has lost it"):
        layout.lookup(NAME)
    layout.untag(NAME)
    collect(layout, now=index_time_s(layout) + LEFTOVER_S + 60)
    assert list(layout.places.quarantine.iterdir()) == []


def test_a_clock_that_is_set_while_we_run_makes_nothing_old(layout: Layout, clock: Clock) -> None:
    """A board without a clock of its own: the network tells the time, and it is fifty years later."""
    half = half_arrived(layout)
    whole = layout.put(b"no name yet", "text/plain")
    layout.touches.forget_until(math.inf)
    clock.now += 60

    report = collect(layout, now=time.time() + 50 * 365 * 86_400)

    assert (report.blobs, report.leftovers) == ((), ())
    assert layout.places.part(half.digest).exists()
    assert layout.places.blob(whole.digest).exists()


def test_what_an_unset_clock_has_stamped_is_as_old_as_this_process(clock: Clock) -> None:
    ages = Ages(clock, lambda: 1_790_000_000.0)
    clock.now += 30

    assert ages.age_s(5.0, 1_790_000_030.0) == 30
    assert ages.age_s(1_789_999_000.0, 1_790_000_030.0) == 1030
    assert ages.age_s(1_790_000_010.0, 1_790_000_030.0) == 20


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
