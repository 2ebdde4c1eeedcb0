"""The pipe between a socket and an app: in order, bounded, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.server.upload_stream import MAX_DISCARDED_BYTES, MAX_HELD_BYTES, BodyPipe, is_upload
from appliance.errors import ClientGone, InvalidRequest


class Told:
    """Counts what the pipe says."""

    def __init__(self, *, stall_s: float = 5.0) -> None:
        self.begun = 0
        self.room = 0
        self.unread = 0
        self.pipe = BodyPipe(
            stall_s=stall_s, on_first_read=self._begin, on_room=self._room, on_unread=self._unread
        )

    def _unread(self) -> None:
        self.unread += 1

    def _begin(self) -> None:
        self.begun += 1

    def _room(self) -> None:
        self.room += 1


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/api/blobs/sha256:a", True),
        ("POST", "/api/blobs/", True),
        ("HEAD", "/api/blobs/sha256:a", False),
        ("POST", "/api/blobsx", False),
        ("POST", "/api/chat", False),
        ("POST", "/v1/x?/api/blobs/", False),
    ],
)
def test_only_one_route_has_bodies_of_any_size(method: str, path: str, *, expected: bool) -> None:
    assert is_upload(method, path) is expected


@given(pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=10), size=st.integers(1, 64))
def test_all_bytes_come_in_order_whatever_is_asked_for(pieces: list[bytes], size: int) -> None:
    pipe = Told().pipe
    for piece in pieces:
        pipe.append(piece)
    pipe.end()
    taken = list(iter(lambda: pipe.read(size), b""))
    assert b"".join(taken) == b"".join(pieces)
    assert all(len(part) <= size for part in taken)
    assert (len(pipe), pipe.read(size)) == (0, b"")


def test_the_app_says_once_that_it_wants_the_body() -> None:
    told = Told()
    told.pipe.append(b"ab")
    assert told.begun == 0
    assert (told.pipe.read(1), told.pipe.read(1), told.begun) == (b"a", b"b", 1)


def test_a_body_that_nobody_wanted_is_told_as_such() -> None:
    wanted, unwanted = Told(), Told()
    wanted.pipe.append(b"a")
    wanted.pipe.read(1)
    wanted.pipe.close()
    unwanted.pipe.close()
    assert (wanted.unread, unwanted.unread) == (0, 1)


def test_who_reads_from_a_full_pipe_makes_room() -> None:
    told = Told()
    told.pipe.append(b"x" * (MAX_HELD_BYTES - 1))
    assert not told.pipe.is_full
    told.pipe.append(b"x")
    assert told.pipe.is_full
    told.pipe.read(1)
    assert (told.pipe.is_full, told.room) == (False, 1)
    told.pipe.read(1)
    assert told.room == 1


def test_a_reader_waits_for_what_is_to_come() -> None:
    pipe = Told().pipe
    reader = threading.Timer(0.01, pipe.append, [b"late"])
    reader.start()
    assert pipe.read(10) == b"late"
    reader.join()


def test_a_client_that_leaves_ends_the_reading_after_what_had_come() -> None:
    pipe = Told().pipe
    pipe.append(b"a")
    pipe.break_off()
    assert pipe.read(10) == b"a"
    with pytest.raises(ClientGone):
        pipe.read(10)


def test_a_client_that_says_nothing_is_given_up() -> None:
    with pytest.raises(InvalidRequest, match=r"nothing of the body came for 0\.01 s"):
        Told(stall_s=0.01).pipe.read(10)


def test_what_comes_when_nobody_reads_is_thrown_away_up_to_a_bound() -> None:
    told = Told()
    told.pipe.append(b"x" * MAX_HELD_BYTES)
    told.pipe.close()
    assert (len(told.pipe), told.pipe.is_full, told.room) == (0, False, 1)
    told.pipe.append(b"x" * MAX_DISCARDED_BYTES)
    assert (len(told.pipe), told.pipe.is_flooded) == (0, False)
    told.pipe.append(b"x")
    assert told.pipe.is_flooded
