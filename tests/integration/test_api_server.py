"""The door under load and under attack: many streams, clients that leave, stall or lie, and a clean end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

from appliance import errors
from appliance.api.server import ServerLimits, serve
from appliance.wire.messages import Delta
from tests.fakes.fake_inference import FakeInference, Silence, text_of
from tests.integration.api_door import (
    Door,
    chat_request,
    http,
    in_threads,
    opened,
    read_all,
    read_until,
    status_of,
    wait_for,
)

pytestmark = [pytest.mark.alone, pytest.mark.integration]
MANY = 50


def endless(pause_s: float = 0.02) -> list[Delta | Silence]:
    """A generation that nobody waits out."""
    lines: list[Delta | Silence] = []
    for number in range(5000):
        lines += [Delta(id=1, choice=0, text=f" {number}", tokens=1), Silence(pause_s)]
    return lines


def text_in(stream: bytes) -> str:
    """The content of a chunked stream's events."""
    text = ""
    for line in stream.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text


# ── many at once
# ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_fifty_streams_at_once_are_each_exact() -> None:
    def script(request: object) -> list[Delta | Silence]:
        lines: list[Delta | Silence] = []
        for line in text_of(*(f" {number}" for number in range(40))):
            assert isinstance(line, Delta)
            lines += [Silence(0.005), line]
        return lines

    answers: dict[int, bytes] = {}
    with opened(FakeInference(script=script)) as door:

        def client(number: int) -> None:
            with door.knock(chat_request(stream=True), timeout_s=20) as connection:
                answers[number] = read_all(connection)

        in_threads(MANY, client)
    expected = "".join(f" {number}" for number in range(40))
    assert len(answers) == MANY
    for answer in answers.values():
        assert text_in(answer) == expected
        assert answer.rstrip().endswith(b"0")
        assert answer.count(b"data: [DONE]") == 1


def test_one_too_many_is_refused_in_50_ms_while_all_others_stream() -> None:
    limits = ServerLimits(max_concurrent=MANY)
    with opened(FakeInference(script=lambda _: endless(), capacity=MANY), server_limits=limits) as door:
        streams = [door.knock(chat_request(stream=True)) for _ in range(MANY)]
        for stream in streams:
            read_until(stream, b'"content":" 0"')
        waits_s = []
        for _ in range(10):
            started_s = time.perf_counter()
            answer = door.ask(chat_request())
            waits_s.append(time.perf_counter() - started_s)
            assert status_of(answer) == 503
            assert b"Retry-After: 2" in answer
            assert b'"code":"overloaded"' in answer
        for stream in streams:
            stream.close()
        wait_for(lambda: door.inference.running == 0)
    assert sorted(waits_s)[5] < 0.05


def test_health_answers_while_all_stream() -> None:
    limits = ServerLimits(max_concurrent=MANY)
    with opened(FakeInference(script=lambda _: endless()), server_limits=limits) as door:
        streams = [door.knock(chat_request(stream=True)) for _ in range(MANY)]
        wait_for(lambda: door.inference.running == MANY)
        assert status_of(door.ask(http("GET", "/healthz", headers={"Connection": "close"}))) == 200
        for stream in streams:
            stream.close()


# ── clients that leave
# ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_leaves_in_mid_stream_frees_its_place_within_a_step() -> None:
    with opened(FakeInference(script=lambda _: endless())) as door:
        stream = door.knock(chat_request(stream=True))
        read_until(stream, b'"content":" 3"')
        stream.close()
        assert wait_for(lambda: door.inference.running == 0) < 0.25


def test_a_client_that_leaves_during_the_prefill_frees_its_place() -> None:
    with opened(FakeInference(script=lambda _: [Silence(60), *text_of("x")])) as door:
        stream = door.knock(chat_request(stream=True))
        read_until(stream, b'"role":"assistant"')
        stream.close()
        assert wait_for(lambda: door.inference.running == 0) < 0.6


def test_a_client_that_leaves_before_a_whole_answer_frees_its_place() -> None:
    with opened(FakeInference(script=lambda _: [Silence(60), *text_of("x")])) as door:
        waiting = door.knock(chat_request())
        wait_for(lambda: door.inference.running == 1)
        waiting.close()
        assert wait_for(lambda: door.inference.running == 0) < 0.6


def test_a_client_that_leaves_the_queue_gives_its_turn_away() -> None:
    inference = FakeInference()
    inference.queue.clear()
    with opened(inference) as door:
        waiting = door.knock(chat_request(stream=True))
        wait_for(lambda: inference.running == 1)
        waiting.close()
        assert wait_for(lambda: inference.gone == 1) < 0.6
        assert inference.generations == []


def test_a_reset_is_no_worse_than_a_close() -> None:
    with opened(FakeInference(script=lambda _: endless())) as door:
        stream = door.knock(chat_request(stream=True))
        read_until(stream, b'"content":" 3"')
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        stream.close()
        wait_for(lambda: door.inference.running == 0)
        assert status_of(door.ask(http("GET", "/healthz", headers={"Connection": "close"}))) == 200


def test_a_reader_that_stalls_is_held_at_the_bound_and_then_cut_off() -> None:
    flood = [Delta(id=1, choice=0, text="x" * 4000, tokens=1) for _ in range(5000)]
    inference = FakeInference(script=lambda _: flood)
    with opened(inference, server_limits=ServerLimits(stall_s=1.0)) as door:
        stream = socket.socket()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.connect(door.server.address)
        stream.sendall(chat_request(stream=True))
        wait_for(lambda: inference.running == 1)
        wait_for(lambda: inference.running == 0, timeout_s=10)
        stream.close()
    assert inference.generations[0].closed_after < 2500


# ── bodies and headers
# ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_of_100_mb_is_413_before_it_is_read() -> None:
    head = http("POST", "/v1/chat/completions", headers={"Content-Length": str(100 * 2**20)})
    with opened() as door:
        answer = door.ask(head)
    assert status_of(answer) == 413
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert b"X-Request-Id: req_" in answer


def test_a_client_that_sends_100_mb_anyway_sees_the_413() -> None:
    import httpx

    with opened() as door:
        answer = httpx.post(
            f"{door.url}/v1/chat/completions",
            content=b'{"model":"' + b"x" * (100 * 2**20) + b'"}',
            headers={"Content-Type": "application/json"},
            timeout=20,
        )
    assert answer.status_code == 413


def test_a_chunked_body_over_the_limit_is_413() -> None:
    head = http("POST", "/v1/chat/completions", headers={"Transfer-Encoding": "chunked"})
    head = head.replace(b"Content-Length: 0\r\n", b"")
    limits = ServerLimits(max_body_bytes=10_000)
    with opened(server_limits=limits) as door, door.knock(head, timeout_s=1) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is refused while it is sent
            for _ in range(20):
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
                time.sleep(0.002)
        assert status_of(read_all(connection)) == 413


def test_a_chunked_body_within_the_limit_is_read() -> None:
    body = json.dumps({"model": "fake/model:q4", "messages": [{"role": "user", "content": "x"}]}).encode()
    headers = {"Transfer-Encoding": "chunked", "Connection": "close"}
    head = http("POST", "/v1/chat/completions", headers=headers).replace(b"Content-Length: 0\r\n", b"")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:]))
    with opened() as door:
        assert status_of(door.ask(head + chunks + b"0\r\n\r\n")) == 200


def test_a_slow_body_holds_no_thread_and_is_cut_off() -> None:
    limits = ServerLimits(max_concurrent=1, read_s=1.0)
    with opened(server_limits=limits) as door:
        before = threading.active_count()
        slow = [door.knock(chat_request()[:-5]) for _ in range(60)]
        assert status_of(door.ask(chat_request())) == 200
        assert threading.active_count() <= before + 1
        slow[0].settimeout(8)
        assert slow[0].recv(1) == b""
        for connection in slow:
            connection.close()


def test_too_large_a_header_is_431_in_json() -> None:
    with opened() as door:
        answer = door.ask(http("GET", "/healthz", headers={"X-Long": "x" * 40_000}))
    assert status_of(answer) == 431
    assert b'"code":"headers_too_large"' in answer


def test_no_answer_names_the_server() -> None:
    with opened() as door:
        for request in (http("GET", "/healthz", headers={"Connection": "close"}), b"garbage\r\n\r\n"):
            answer = door.ask(request)
            assert b"waitress" not in answer.lower()
            assert b"\r\nServer:" not in answer


# `docs/api.md` lists them.
SMUGGLING = {
    "an encoding that is not chunked": (b"Transfer-Encoding: xchunked\r\n", 501),
    "two lengths that differ": (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    "a length with a sign": (b"Content-Length: +2\r\n", 400),
    "a length with an underscore": (b"Content-Length: 1_0\r\n", 400),
    "a space before the colon": (b"Transfer-Encoding : chunked\r\n", 400),
    "a vertical tab in the encoding": (b"Transfer-Encoding: \x0bchunked\r\n", 400),
    "a bare carriage return": (b"X: a\rb\r\n", 400),
    "a null byte": (b"X: a\x00b\r\n", 400),
    "a length beside an encoding": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
    "the encoding twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    "the same length twice": (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    "a folded header": (b"X: a\r\n b\r\n", 400),
    "two hosts": (b"Host: evil.com\r\n", 400),
    "ten terabytes": (b"Content-Length: 10000000000000\r\n", 413),
}


@pytest.mark.parametrize("vector", SMUGGLING)
def test_a_request_of_two_meanings_is_refused_and_the_connection_closed(vector: str) -> None:
    header, status = SMUGGLING[vector]
    request = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + b"\r\n"
    with opened() as door, door.knock(request, timeout_s=2) as connection:
        answer = read_all(connection)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") + answer.count(b"HTTP/1.0 ") == 1


def test_http_1_1_without_a_host_is_400() -> None:
    with opened() as door:
        answer = door.ask(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 400


def test_a_connection_is_kept_for_the_next_request() -> None:
    with opened() as door, door.knock(chat_request(close=False)) as connection:
        read_until(connection, b'"predicted_per_second":4.0}}')
        connection.sendall(chat_request())
        assert status_of(read_all(connection)) == 200


# ── the end
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def streaming(door: Door) -> socket.socket:
    stream = door.knock(chat_request(stream=True))
    read_until(stream, b'"role":"assistant"')
    return stream


def test_a_running_answer_may_end_before_the_door_closes() -> None:
    with opened(FakeInference(script=lambda _: [Silence(0.3), *text_of("last")])) as door:
        stream = streaming(door)
        door.server.close(grace_s=5)
        assert b"[DONE]" in read_all(stream)
        stream.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(door.server.address, timeout=1)


def test_an_answer_without_end_is_cut_when_the_door_closes() -> None:
    with opened(FakeInference(script=lambda _: endless())) as door:
        stream = streaming(door)
        started_s = time.monotonic()
        door.server.close(grace_s=0.3)
        assert time.monotonic() - started_s < 3
        assert b"[DONE]" not in read_all(stream)
        stream.close()
        assert door.inference.generations[0].is_closed


def test_an_address_in_use_is_a_typed_error() -> None:
    with opened() as door, pytest.raises(errors.AddressInUse, match="in use"):
        serve(lambda *_: [], listen=door.server.address)


def test_an_address_that_is_not_ours_is_a_config_error() -> None:
    with pytest.raises(errors.ConfigError):
        serve(lambda *_: [], listen=("192.0.2.1", 0))
