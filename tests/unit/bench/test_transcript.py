"""A benchmark that misreads a stream is worse than none."""

from __future__ import annotations

import json

import pytest

from tests.bench.load import BenchError
from tests.bench.transcript import Transcript, read_answer

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def _event(content: str | None, **more: object) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: " + json.dumps({"choices": [{"delta": delta}], **more}).encode() + b"\n\n"


def _usage(completion_tokens: int) -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": completion_tokens}
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


_DONE = b"data: [DONE]\n\n"


def _transcript(*chunks: tuple[float, bytes]) -> Transcript:
    return Transcript(chunks=list(chunks), sent_s=1.0, end_s=chunks[-1][0])


def test_events_carry_the_time_their_last_byte_arrived() -> None:
    first = _event("a")
    answer = read_answer(
        _transcript(
            (1.1, _HEAD + b"\r\n" + first[:9]),
            (1.2, first[9:] + _event("b")),
            (1.5, _event("c") + _usage(3) + _DONE),
        )
    )
    assert answer.event_s == [1.2, 1.2, 1.5]
    assert answer.ttft_s == pytest.approx(0.2)
    assert answer.gaps_s == pytest.approx([0.0, 0.3])
    assert (answer.completion_tokens, answer.counted, answer.text) == (3, "usage", "abc")


def test_a_chunked_body_is_put_together_and_an_event_may_span_its_chunks() -> None:
    event = _event("hello")
    pieces = [event[:10], event[10:] + _usage(1) + _DONE]
    body = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    head = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = read_answer(_transcript((1.1, head + body[0]), (1.4, body[1] + b"0\r\n\r\n")))
    assert answer.event_s == [1.4]
    assert answer.text == "hello"


def test_roles_heartbeats_and_empty_deltas_are_no_first_token() -> None:
    quiet = _HEAD + b"\r\n" + _event(None) + b": heartbeat\n\n" + _event("")
    answer = read_answer(_transcript((1.1, quiet), (2.0, _event("x") + _usage(1) + _DONE)))
    assert answer.ttft_s == pytest.approx(1.0)


def test_events_are_counted_where_a_server_sends_no_usage() -> None:
    answer = read_answer(_transcript((1.1, _HEAD + b"\r\n" + _event("x") + _event("y") + _DONE)))
    assert (answer.completion_tokens, answer.counted) == (2, "events")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\nfull",
        _HEAD + b"\r\n" + _event("x"),
        _HEAD + b"\r\n" + _DONE,
        _HEAD + b'\r\ndata: {"error": {"message": "dead"}}\n\n' + _DONE,
        b"",
    ],
    ids=["status", "no end", "no text", "error event", "nothing"],
)
def test_anything_but_a_whole_answer_ends_the_benchmark(raw: bytes) -> None:
    with pytest.raises(BenchError):
        read_answer(_transcript((1.1, raw)))
