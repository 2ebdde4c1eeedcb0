from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import DigestMismatch, StoreFault
from appliance.store.descriptor import Descriptor
from appliance.store.files import Files
from appliance.store.ingest import Ingest
from appliance.store.places import Places
from tests.fakes.fake_models import blob_of

_CONTENT = bytes(range(256)) * 40
_BLOB = blob_of(_CONTENT)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return _places(tmp_path)


def _places(root: Path) -> Places:
    places = Places(root)
    for directory in (places.blobs, places.ingest):
        directory.mkdir(parents=True)
    return places


def _ingest(places: Places, blob: Descriptor = _BLOB) -> Ingest:
    return Ingest(places, Files(), blob)


def test_a_blob_gets_its_name_when_all_of_it_came(places: Places) -> None:
    ingest = _ingest(places)
    ingest.write(0, _CONTENT)
    path = ingest.commit()
    ingest.close()

    assert path == places.blob(_BLOB.digest)
    assert path.read_bytes() == _CONTENT
    assert path.stat().st_mode & 0o777 == 0o444
    assert list(places.ingest.iterdir()) == []


def test_the_part_has_its_full_size_before_the_first_byte(places: Places) -> None:
    ingest = _ingest(places)

    assert places.part(_BLOB.digest).stat().st_size == _BLOB.size
    assert ingest.missing() == [(0, _BLOB.size)]
    ingest.close()


def test_nothing_is_left_of_an_ingest_that_got_nothing(places: Places) -> None:
    _ingest(places).close()

    assert list(places.ingest.iterdir()) == []


def test_an_empty_blob_is_a_blob(places: Places) -> None:
    ingest = _ingest(places, blob_of(b""))

    assert ingest.missing() == []
    assert ingest.commit().read_bytes() == b""


def test_what_came_is_kept_for_another_try(places: Places) -> None:
    first = _ingest(places)
    first.write(100, _CONTENT[100:200])
    first.close()

    second = _ingest(places)

    assert second.missing() == [(0, 100), (200, _BLOB.size)]
    second.write(0, _CONTENT[:100])
    second.write(200, _CONTENT[200:])
    assert second.commit().read_bytes() == _CONTENT


def test_bytes_that_were_not_checkpointed_do_not_count_after_a_crash(places: Places) -> None:
    crashed = _ingest(places)
    crashed.write(0, _CONTENT[:100])
    crashed.checkpoint()
    crashed.write(100, _CONTENT[100:300])

    resumed = _ingest(places)

    assert resumed.missing() == [(100, _BLOB.size)]
    resumed.discard()
    crashed._release()


def test_a_resumed_part_that_lost_its_bytes_is_found_and_not_kept(places: Places) -> None:
    first = _ingest(places)
    first.write(0, _CONTENT[:5000])
    first.close()
    with places.part(_BLOB.digest).open("r+b") as part:
        part.write(bytes(4096))
    second = _ingest(places)
    second.write(5000, _CONTENT[5000:])

    with pytest.raises(DigestMismatch, match="expected sha256"):
        second.commit()

    assert list(places.ingest.iterdir()) == []
    assert list(places.blobs.iterdir()) == []


def test_an_incomplete_blob_is_not_committed_and_kept(places: Places) -> None:
    ingest = _ingest(places)
    ingest.write(0, _CONTENT[:-1])

    with pytest.raises(StoreFault, match="1 of 10240 bytes have not come"):
        ingest.commit()

    ingest.close()
    assert _ingest(places).missing() == [(_BLOB.size - 1, _BLOB.size)]


def test_bytes_past_the_end_are_refused(places: Places) -> None:
    ingest = _ingest(places)

    with pytest.raises(DigestMismatch, match="expected 10240 bytes, got 10241 or more"):
        ingest.write(_BLOB.size - 1, b"ab")

    ingest.close()


def test_bytes_that_are_there_are_never_written_again(places: Places) -> None:
    ingest = _ingest(places)
    ingest.write(0, _CONTENT[:1000])
    ingest.write(500, b"?" * 500 + _CONTENT[1000:])

    assert ingest.commit().read_bytes() == _CONTENT


def test_a_write_that_failed_leaves_its_range_missing(places: Places) -> None:
    class Failing(Files):
        fails = True

        def pwrite(self, descriptor: int, content: bytes | memoryview, offset: int) -> None:
            if self.fails and offset == 100:
                raise StoreFault(path="part", reason="input/output error")
            super().pwrite(descriptor, content, offset)

    files = Failing()
    ingest = Ingest(places, files, _BLOB)
    with pytest.raises(StoreFault):
        ingest.write(100, _CONTENT[100:200])
    files.fails = False

    assert ingest.missing() == [(0, _BLOB.size)]
    ingest.write(0, _CONTENT)
    assert ingest.commit().read_bytes() == _CONTENT


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"size": 10240, "durable": [[5, 5]]}',
        b'{"size": 10240, "durable": [[-5, 5]]}',
        b'{"size": 10240, "durable": [[0, 10241]]}',
        b'{"size": 10241, "durable": [[0, 10240]]}',
        b'{"size": 10240, "durable": [[0, 10240]], "more": 1}',
    ],
)
def test_a_state_that_makes_no_sense_counts_as_none(places: Places, state: bytes) -> None:
    places.part(_BLOB.digest).write_bytes(bytes(_BLOB.size))
    places.part_state(_BLOB.digest).write_bytes(state)

    ingest = _ingest(places)

    assert ingest.missing() == [(0, _BLOB.size)]
    ingest.close()


def test_a_part_of_another_length_is_begun_anew(places: Places) -> None:
    places.part(_BLOB.digest).write_bytes(b"short")
    places.part_state(_BLOB.digest).write_text(json.dumps({"size": _BLOB.size, "durable": [[0, 5000]]}))

    ingest = _ingest(places)

    assert ingest.missing() == [(0, _BLOB.size)]
    ingest.close()


@given(cuts=st.lists(st.integers(1, len(_CONTENT) - 1), max_size=8), order=st.randoms(use_true_random=False))
def test_parts_in_any_order_with_a_restart_between_make_the_blob(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], order: object
) -> None:
    places = _places(tmp_path_factory.mktemp("store"))
    edges = sorted({0, len(_CONTENT), *cuts})
    parts = list(pairwise(edges))
    order.shuffle(parts)  # type: ignore[attr-defined]
    ingest = _ingest(places)
    for number, (start, end) in enumerate(parts):
        ingest.write(start, _CONTENT[start:end])
        if number == len(parts) // 2:
            ingest.close()
            ingest = _ingest(places)

    assert ingest.commit().read_bytes() == _CONTENT
