"""How a blob is cut and brought: an ingest and a source in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RemoteRefused, StoreFault
from appliance.store.content import Progress, unreported
from appliance.store.descriptor import Descriptor
from appliance.store.digest import digest_of
from appliance.store.transfer import MAX_PART_BYTES, MIN_PART_BYTES, fill, part_bytes, split

MIB = 1024 * 1024


class _Ingest:
    """Any thread writes; a lock guards all."""

    def __init__(self, size: int, missing: list[tuple[int, int]]) -> None:
        self.size = size
        self.content = bytearray(size)
        self.came = bytearray(size)
        self._missing = missing
        self._lock = threading.Lock()

    def missing(self) -> list[tuple[int, int]]:
        return self._missing

    def write(self, offset: int, content: bytes) -> None:
        with self._lock:
            self.content[offset : offset + len(content)] = content
            self.came[offset : offset + len(content)] = b"\1" * len(content)

    def checkpoint(self) -> None:
        pass


class _Source:
    def __init__(self, content: bytes, *, is_parallel: bool = True, serves_ranges: bool = True) -> None:
        self.content = content
        self.is_parallel = is_parallel
        self.opened: list[tuple[int, int]] = []
        self._serves_ranges = serves_ranges

    @contextmanager
    def open(
        self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        end = len(self.content) if end is None else end
        self.opened.append((start, end))
        if not self._serves_ranges:
            self.is_parallel = False
        yield (self.content[at : min(at + MIB, end)] for at in range(start, end, MIB))


def _content(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def _fill(source: _Source, missing: list[tuple[int, int]] | None = None, streams: int = 4) -> _Ingest:
    size = len(source.content)
    ingest = _Ingest(size, [(0, size)] if missing is None else missing)
    descriptor = Descriptor(media_type="application/x", digest=digest_of(source.content), size=size)
    fill(ingest, descriptor, source, unreported, streams=streams)
    return ingest


@pytest.mark.parametrize("streams", [1, 2, 4, 9])
@pytest.mark.parametrize("is_parallel", [True, False])
@pytest.mark.parametrize("serves_ranges", [True, False])
def test_all_bytes_come_however_they_come(streams: int, is_parallel: bool, serves_ranges: bool) -> None:
    source = _Source(_content(17 * MIB + 5), is_parallel=is_parallel, serves_ranges=serves_ranges)
    assert _fill(source, streams=streams).content == source.content


def test_a_small_blob_is_opened_once() -> None:
    source = _Source(_content(3 * MIB))
    _fill(source)
    assert source.opened == [(0, 3 * MIB)]


def test_a_source_that_turns_out_to_serve_no_ranges_is_read_in_one_stream() -> None:
    source = _Source(_content(20 * MIB), serves_ranges=False)
    _fill(source)
    assert source.opened[1:] == [(0, 20 * MIB)]


def test_only_what_is_missing_is_asked_for() -> None:
    source = _Source(_content(40 * MIB))
    missing = [(5 * MIB, 6 * MIB), (30 * MIB, 40 * MIB)]
    ingest = _fill(source, missing)
    assert sum(end - start for start, end in source.opened) == 11 * MIB
    assert ingest.came.count(1) == 11 * MIB


def test_nothing_missing_opens_nothing() -> None:
    source = _Source(_content(MIB))
    _fill(source, [])
    assert source.opened == []


def test_the_first_fault_of_any_stream_ends_all_of_them() -> None:
    source = _Source(_content(40 * MIB))

    class Full(_Ingest):
        def write(self, offset: int, content: bytes) -> None:
            if offset > 20 * MIB:
                raise StoreFault(path="x", reason="full")

    ingest = Full(40 * MIB, [(0, 40 * MIB)])
    descriptor = Descriptor(media_type="x", digest=digest_of(b""), size=40 * MIB)
    with pytest.raises(StoreFault):
        fill(ingest, descriptor, source, unreported)


def test_a_refusal_is_not_tried_again() -> None:
    tries: list[int] = []

    class Refusing(_Source):
        @contextmanager
        def open(
            self, descriptor: Descriptor, *, start: int = 0, end: int | None = None
        ) -> Iterator[Iterator[bytes]]:
            tries.append(start)
            raise RemoteRefused(host="x", status=403, reason="no")
            yield iter(())

    with pytest.raises(RemoteRefused):
        _fill(Refusing(_content(MIB)))
    assert tries == [0]


def test_progress_is_told_by_one_thread_at_a_time_and_ends_with_all() -> None:
    source = _Source(_content(40 * MIB))
    told: list[Progress] = []
    inside = threading.Lock()

    def report(progress: Progress) -> None:
        assert inside.acquire(blocking=False)
        told.append(progress)
        inside.release()

    ingest = _Ingest(40 * MIB, [(10 * MIB, 40 * MIB)])
    descriptor = Descriptor(media_type="x", digest=digest_of(b""), size=40 * MIB)
    fill(ingest, descriptor, source, report)
    counts = [progress.completed_bytes for progress in told]
    assert (counts[0], counts[-1]) == (10 * MIB, 40 * MIB)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_parts_are_a_sixteenth_within_bounds(size: int) -> None:
    assert MIN_PART_BYTES <= part_bytes(size) <= MAX_PART_BYTES


@given(
    st.lists(st.integers(min_value=0, max_value=1000), min_size=2, max_size=20, unique=True),
    st.integers(min_value=1, max_value=300),
)
def test_a_split_covers_the_same_bytes_in_short_parts(edges: list[int], limit: int) -> None:
    edges.sort()
    ranges = list(zip(edges[::2], edges[1::2], strict=False))
    parts = list(split(ranges, limit))
    assert all(0 < end - start <= limit for start, end in parts)
    covered = [at for start, end in parts for at in range(start, end)]
    assert covered == [at for start, end in ranges for at in range(start, end)]
