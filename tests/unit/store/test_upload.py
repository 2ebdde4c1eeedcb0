"""A blob in one body: kept when it is what its digest says, and nothing else is left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import DigestMismatch, InsufficientSpace, InvalidRequest, ShuttingDown
from appliance.store import upload
from appliance.store.digest import Digest, digest_of
from appliance.store.store import ModelStore
from tests.fakes.model_files import generator, make_store

CONTENT = b"some bytes of a model"
DIGEST = digest_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModelStore]:
    store = make_store(tmp_path / "store")
    yield store
    store.close()


def files_of(store: ModelStore) -> set[str]:
    """Blobs, and what is arriving."""
    places = [store.layout.places.blobs, store.layout.places.ingest]
    return {path.name for place in places for path in place.iterdir()}


def take(
    store: ModelStore, chunks: Iterable[bytes], *, digest: Digest = DIGEST, size: int | None = None
) -> None:
    store.take_blob(digest, chunks, size=size)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_what_is_whole_is_there_and_known_to_be_sound(store: ModelStore, size: int | None) -> None:
    assert not store.has_blob(DIGEST)
    take(store, [CONTENT[:5], CONTENT[5:]], size=size)
    assert store.has_blob(DIGEST)
    assert store.layout.path(DIGEST).read_bytes() == CONTENT
    assert files_of(store) == {DIGEST.removeprefix("sha256:")}


def test_what_comes_twice_is_there_once(store: ModelStore) -> None:
    take(store, [CONTENT])
    take(store, [CONTENT])
    assert files_of(store) == {DIGEST.removeprefix("sha256:")}


def test_other_bytes_than_the_digest_says_leave_nothing(store: ModelStore) -> None:
    with pytest.raises(DigestMismatch, match="the body is not what its digest says"):
        take(store, [b"other"])
    assert files_of(store) == set()
    assert not store.has_blob(DIGEST)


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_length_than_announced_leaves_nothing(store: ModelStore, size: int) -> None:
    with pytest.raises(InvalidRequest, match=f"the body ended after {len(CONTENT)} of {size} bytes"):
        take(store, [CONTENT], size=size)
    assert files_of(store) == set()


def test_what_breaks_off_leaves_nothing(store: ModelStore) -> None:
    def breaking() -> Iterator[bytes]:
        yield CONTENT[:5]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        take(store, breaking())
    assert files_of(store) == set()


def test_what_does_not_fit_is_refused_before_a_byte_of_it_is_asked_for(store: ModelStore) -> None:
    def never() -> Iterator[bytes]:
        pytest.fail("a byte was asked for")
        yield b""

    with pytest.raises(InsufficientSpace):
        take(store, never(), size=1 << 60)
    assert files_of(store) == set()


def test_what_has_no_length_asks_for_room_as_it_grows(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "STEP_BYTES", 1 << 60)
    with pytest.raises(InsufficientSpace):
        take(store, [CONTENT])
    assert files_of(store) == set()


def test_a_store_that_stops_takes_no_more(store: ModelStore) -> None:
    def halting() -> Iterator[bytes]:
        yield CONTENT[:5]
        store.halt()
        yield CONTENT[5:]

    with pytest.raises(ShuttingDown):
        take(store, halting())
    assert files_of(store) == set()


def test_a_model_is_made_of_what_was_sent(store: ModelStore) -> None:
    content = generator().read_bytes()
    digest = digest_of(content)
    take(store, [content], digest=digest, size=len(content))
    assert store.create("tiny", f"FROM {digest}\n", lambda _: None) == "tiny:latest"
    assert [row.broken for row in store.list()] == [None]


@given(cuts=st.lists(st.integers(0, 4096), max_size=8), content=st.binary(max_size=4096))
def test_it_does_not_matter_how_a_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], content: bytes
) -> None:
    ends = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[start:end] for start, end in pairwise(ends)]
    store = make_store(tmp_path_factory.mktemp("upload") / "store")
    try:
        take(store, chunks, digest=digest_of(content))
        assert store.layout.path(digest_of(content)).read_bytes() == content
    finally:
        store.close()
