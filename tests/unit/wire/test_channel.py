from __future__ import annotations

import socket
import struct
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.channel import Channel, ProtocolError, daemon_end
from appliance.wire.messages import (
    MAX_FRAME_BYTES,
    Delta,
    EngineStats,
    Failed,
    Heartbeat,
    Result,
    RunnerMessage,
    Step,
    WireError,
)

STEP = Step(deltas=[Delta(id=1, choice=0, text="hé", tokens=1)])
MESSAGES = [STEP, Heartbeat(stats=EngineStats(running=3)), Failed(id=2, error=WireError(name="X", fields={}))]


class FakeSocket:
    """Hands out given chunks; then EOF, or an exception."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = list(chunks)
        self.sent = b""

    def recv(self, _limit: int) -> bytes:
        if not self.chunks:
            return b""
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def sendall(self, data: bytes) -> None:
        if self.chunks and isinstance(self.chunks[0], Exception):
            raise self.chunks[0]
        self.sent += data

    def setsockopt(self, *_: object) -> None: ...


def end(*chunks: bytes | Exception) -> Channel[RunnerMessage]:
    return daemon_end(cast(socket.socket, FakeSocket(*chunks)))


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack("<I", len(body)) + body


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.integers(min_value=1, max_value=40))
def test_frames_survive_any_cut_of_the_stream(messages: list[RunnerMessage], size: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    channel = end(*chunks)
    assert [channel.receive() for _ in messages] == messages
    assert channel.receive() is None


@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_message_are_a_protocol_error_and_nothing_else(body: bytes) -> None:
    channel = end(struct.pack("<I", len(body)) + body)
    try:
        channel.receive()
    except ProtocolError:
        return
    pytest.fail("random bytes were taken for a message")


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
def test_a_stream_cut_inside_a_frame_is_an_eof(cut: int) -> None:
    assert end(frame(STEP)[:cut]).receive() is None


def test_an_announced_giant_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="is announced"):
        end(struct.pack("<I", MAX_FRAME_BYTES + 1)).receive()


def test_a_reset_is_an_eof() -> None:
    assert end(ConnectionResetError()).receive() is None


def test_a_deep_nest_is_a_protocol_error() -> None:
    body = (
        b"\x83\xa1t\xa6Failed\xa2id\x01\xa5error\x82\xa4name\xa1X\xa6fields"
        + b"\x81\xa1a" * 100_000
        + b"\xc0"
    )
    with pytest.raises(ProtocolError):
        end(struct.pack("<I", len(body)) + body).receive()


def test_silence_past_the_deadline_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        end(BlockingIOError()).receive()


def test_a_trickle_past_the_deadline_is_a_timeout() -> None:
    channel = end(b"\x10", b"\0", b"\0", b"\0")
    channel.set_receive_timeout(0.0)
    with pytest.raises(TimeoutError, match="no whole frame"):
        channel.receive()


def test_a_peer_that_does_not_read_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match="does not read"):
        end(BlockingIOError()).send(STEP)


def test_a_message_over_the_limit_is_not_sent() -> None:
    sock = FakeSocket()
    channel = daemon_end(cast(socket.socket, sock))
    with pytest.raises(ValueError, match="over the limit"):
        channel.send(Result(id=1, vectors=[bytes(MAX_FRAME_BYTES)]))
    assert sock.sent == b""


def test_a_frame_is_its_length_and_its_message() -> None:
    sock = FakeSocket()
    daemon_end(cast(socket.socket, sock)).send(STEP)
    assert sock.sent == frame(STEP)
