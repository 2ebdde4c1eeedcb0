from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.errors import (
    ModelBroken,
    ModelNotFound,
    StoreFault,
)
from appliance.store.content import Progress
from appliance.store.digest import hex_of
from appliance.store.files import Files
from appliance.store.gc import collect
from appliance.store.layout import Layout
from appliance.store.reference import parse_reference
from appliance.store.scrub import Scrubber, verify
from tests.fakes.fake_models import blob_of, store_model
from tests.unit.store.layout_desk import NAME, blob_path, flip


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
    flip(blob_path(layout, b"shared weights"))
    layout.lookup(NAME)

    report = Scrubber(layout).step(1 << 20)

    (broken,) = report.broken
    assert broken.digest == blob_of(b"shared weights").digest
    assert "has changed" in broken.reason
    assert [model.display for model in broken.models] == ["other:latest", "tiny:latest"]
    with pytest.raises(ModelBroken, match="has changed"):
        layout.lookup(NAME)
    layout.lookup(parse_reference("well"))


@pytest.mark.parametrize(
    ("content", "reason"), [(bytes(14), "is zeroed"), (b"shared", "is truncated: 6 of 14")]
)
def test_the_report_says_what_happened_to_a_blob(layout: Layout, content: bytes, reason: str) -> None:
    store_model(layout, "tiny", b"shared weights")
    path = blob_path(layout, b"shared weights")
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
    layout.untag(NAME)
    collect(layout)

    report = scrubber.step(1 << 20)

    assert report.broken == ()


def test_verify_names_everything_that_is_broken(layout: Layout) -> None:
    store_model(layout, "tiny", b"first weights", b"second weights")
    store_model(layout, "other", b"other weights")
    flip(blob_path(layout, b"first weights"))
    blob_path(layout, b"second weights").unlink()
    flip(blob_path(layout, b"other weights"))

    broken = verify(layout, NAME)

    assert sorted(found.digest for found in broken) == sorted(
        blob_of(w).digest for w in (b"first weights", b"second weights")
    )
    assert len(verify(layout, None)) == 3
    with pytest.raises(ModelNotFound):
        verify(layout, parse_reference("absent"))


def test_verify_tells_how_far_it_is(layout: Layout) -> None:
    store_model(layout, "tiny", bytes(1000))
    news: list[Progress] = []

    assert verify(layout, NAME, news.append) == ()

    assert news[-1].completed_bytes == news[-1].total_bytes
    assert news[-1].status.startswith("verifying ")


# ── a medium that does not give back what it was given ──────────────────────────────────────────────


class FailingMedium(Files):
    """Files whose names are listed cannot be opened, for the reason given."""

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}

    def open_existing(self, path: Path) -> int:
        if number := self.lost.get(path.name):
            cause = OSError(number, os.strerror(number))
            raise StoreFault(path=str(path), reason=os.strerror(number)) from cause
        return super().open_existing(path)

    def lose(self, content: bytes, number: int = errno.EIO) -> None:
        self.lost[hex_of(blob_of(content).digest)] = number


@pytest.fixture
def medium() -> FailingMedium:
    return FailingMedium()


@pytest.fixture
def failing(root: Path, medium: FailingMedium) -> Iterator[Layout]:
    with Layout(root, files=medium) as opened:
        yield opened


def test_a_read_error_of_the_medium_quarantines_the_blob_and_is_told(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_model(layout, "tiny", b"weights")
    scrubber = Scrubber(layout)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("appliance.store.files.os.pread", fail)
        report = scrubber.step(1 << 20)

    assert report.round_finished
    assert len(report.broken) == 3
    assert all("cannot be read: input/output error" in found.reason for found in report.broken)
    with pytest.raises(ModelBroken, match="cannot be read"):
        layout.lookup(NAME)


def test_a_scrub_goes_on_behind_a_blob_that_cannot_be_opened(failing: Layout, medium: FailingMedium) -> None:
    store_model(failing, "tiny", b"weights")
    store_model(failing, "well", b"own weights")
    medium.lose(b"weights")

    report = Scrubber(failing).step(1 << 20)

    assert report.round_finished
    (broken,) = report.broken
    assert [model.display for model in broken.models] == ["tiny:latest"]
    assert not blob_path(failing, b"weights").exists()
    failing.lookup(parse_reference("well"))


def test_verify_reads_the_rest_behind_a_blob_that_cannot_be_read(
    failing: Layout, medium: FailingMedium
) -> None:
    store_model(failing, "tiny", b"first weights", b"second weights")
    medium.lose(b"first weights")
    flip(blob_path(failing, b"second weights"))

    broken = verify(failing, NAME)

    assert sorted(found.digest for found in broken) == sorted(
        blob_of(w).digest for w in (b"first weights", b"second weights")
    )
    with pytest.raises(ModelBroken):
        failing.lookup(NAME)


def test_what_cannot_be_read_is_repaired_by_its_arrival(failing: Layout, medium: FailingMedium) -> None:
    store_model(failing, "tiny", b"weights")
    medium.lose(b"weights")
    Scrubber(failing).step(1 << 20)
    medium.lost.clear()

    store_model(failing, "tiny", b"weights")

    failing.lookup(NAME)
    assert Scrubber(failing).step(1 << 20).broken == ()


def test_a_blob_that_cannot_be_read_is_found_at_its_use_too(failing: Layout, medium: FailingMedium) -> None:
    store_model(failing, "tiny", b"weights")
    failing.blobs.verified.forget(blob_of(b"weights").digest)
    medium.lose(b"weights")

    with pytest.raises(ModelBroken, match="cannot be read"):
        failing.path(blob_of(b"weights").digest)

    with pytest.raises(ModelBroken, match="cannot be read"):
        failing.lookup(NAME)


def test_want_of_descriptors_says_nothing_of_a_blob(failing: Layout, medium: FailingMedium) -> None:
    store_model(failing, "tiny", b"weights")
    medium.lose(b"weights", errno.EMFILE)
    scrubber = Scrubber(failing)

    with pytest.raises(StoreFault):
        scrubber.step(1 << 20)
    medium.lost.clear()

    report = scrubber.step(1 << 20)
    assert report.round_finished
    assert report.broken == ()
    failing.lookup(NAME)


class ReadOnlyMedium(FailingMedium):
    """As a disk that was remounted after its first error: it takes nothing any more."""

    takes = True

    def write_aside(self, path: Path, content: bytes) -> None:
        if not self.takes:
            raise StoreFault(path=str(path), reason="the file system is read-only")
        super().write_aside(path, content)


def test_a_disk_that_takes_no_quarantine_keeps_no_broken_model_served(root: Path) -> None:
    medium = ReadOnlyMedium()
    with Layout(root, files=medium) as layout:
        store_model(layout, "tiny", b"weights")
        medium.lose(b"weights")
        medium.takes = False

        report = Scrubber(layout).step(1 << 20)

        assert [found.digest for found in report.broken] == [blob_of(b"weights").digest]
        with pytest.raises(ModelBroken, match="cannot be read"):
            layout.lookup(NAME)
        assert not layout.has(blob_of(b"weights"))
        medium.takes = True
        medium.lost.clear()
        store_model(layout, "tiny", b"weights")
        layout.lookup(NAME)


def test_an_inode_that_cannot_be_looked_at_is_broken_and_disturbs_nothing_else(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_model(layout, "tiny", b"weights")
    store_model(layout, "well", b"own weights")
    bad, look = blob_path(layout, b"weights"), Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path == bad:
            raise OSError(errno.EUCLEAN, "Structure needs cleaning")
        return look(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", lstat)
        patched.setattr("appliance.store.files.os.open", _refusing(bad, os.open))
        report = Scrubber(layout).step(1 << 20)
        assert [found.digest for found in report.broken] == [blob_of(b"weights").digest]
        assert len(verify(layout, None)) == 1
        with pytest.raises(ModelBroken):
            layout.lookup(NAME)
        layout.lookup(parse_reference("well"))


def _refusing(bad: Path, opener: Callable[..., int]) -> Callable[..., int]:
    def opening(path: Path, *arguments: int) -> int:
        if path == bad:
            raise OSError(errno.EUCLEAN, "Structure needs cleaning")
        return opener(path, *arguments)

    return opening
