"""Replies of HTTP/1.1, byte for byte: how long a body is, and what is no reply."""

from __future__ import annotations

import http.client
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.http_reply import MOST_HEADERS, MOST_LINE_BYTES, BrokenOff, NoHttp, Reply

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def reply(data: bytes) -> Reply:
    return Reply(io.BytesIO(data))


class Dripping:
    """A connection on which one byte comes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readline(self, limit: int, /) -> bytes:
        return self._data.readline(limit)

    def read1(self, size: int, /) -> bytes:
        return self._data.read(min(1, size))


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello, and what nobody sent", b"hello"),
        (OK + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\nhello", b""),
        (OK + b"\r\nto the end", b"to the end"),
        (CHUNKED + b"5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"hello0123456789"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\nhello", b""),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"\r\nhello",
            b"hello",
        ),
        (b"HTTP/1.0 200\nA: b\n\nhello", b"hello"),
    ],
)
def test_a_body_has_its_own_bytes_and_no_others(data: bytes, body: bytes) -> None:
    assert reply(data).read() == body
    assert Reply(Dripping(data)).read() == body


def test_lines_come_across_chunks_and_as_soon_as_they_are_there() -> None:
    told = Reply(Dripping(CHUNKED + b"3\r\na\nb\r\n2\r\nc\n\r\n1\r\nd\r\n0\r\n\r\n"))
    assert [told.readline(99) for _ in range(4)] == [b"a\n", b"bc\n", b"d", b""]
    waits_on = reply(CHUNKED + b"2\r\na\n\r\n")
    assert waits_on.readline(99) == b"a\n"
    with pytest.raises(BrokenOff):
        waits_on.readline(99)


def test_headers_are_found_by_small_names_all_of_them() -> None:
    told = reply(b"HTTP/1.1 503 Busy\r\nX-A:  one \r\nx-a: two\r\nRetry-After: 3\r\n\r\n")
    assert (told.status, told.headers("x-a"), told.header("retry-after")) == (503, ["one", "two"], "3")
    assert told.header("x-b") is None


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"garbage",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 999 X\r\n\r\n",
        OK + b"no header\r\n\r\n",
        OK + b" folded: x\r\n\r\n",
        OK + b"a: b\r\n" * (MOST_HEADERS + 1) + b"\r\n",
        OK + b"a: " + b"b" * MOST_LINE_BYTES + b"\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"five\r\nhello",
        CHUNKED + b"-5\r\nhello",
        CHUNKED + b"5\r\nhello there\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(NoHttp):
        reply(data).read()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"Content-",
        OK + b"Content-Length: 5\r\n\r\nhell",
        CHUNKED,
        CHUNKED + b"5\r\nhell",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
    ],
)
def test_a_reply_that_ends_before_its_time_is_told(data: bytes) -> None:
    with pytest.raises(BrokenOff):
        reply(data).read()


@given(data=st.binary(max_size=80), head=st.sampled_from([b"", OK, CHUNKED, CHUNKED + b"5\r\n"]))
def test_no_bytes_raise_anything_else(data: bytes, head: bytes) -> None:
    with suppress(NoHttp, BrokenOff):
        reply(head + data).read()


class _Wire:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self._data)


@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_chunks_are_read_as_the_standard_library_reads_them(chunks: list[bytes]) -> None:
    data = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"
    theirs = http.client.HTTPResponse(_Wire(data))  # type: ignore[arg-type]  # it asks for a file only
    theirs.begin()
    assert reply(data).read() == theirs.read() == b"".join(chunks)
