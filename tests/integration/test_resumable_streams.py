"""Resumable streams over real connections that break."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from appliance.api.resuming.kept_streams import KeptStreams, ResumeLimits
from appliance.api.server import ServerLimits
from tests.fakes.cutting_proxy import CuttingProxy
from tests.fakes.fake_inference import MODEL, Act, FakeInference, Line, Silence, text_of
from tests.integration.api_door import Door, http, opened, read_all, read_until, status_of, wait_for

pytestmark = pytest.mark.integration
WORDS = [f"w{number} " for number in range(400)]
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
    "max_tokens": 999,
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/messages": CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "hi", "stream": True, "max_tokens": 999},
    "/v1/responses": {"model": MODEL, "input": "hi", "stream": True, "max_output_tokens": 999},
    "/infill": {"model": MODEL, "input_prefix": "a", "input_suffix": "b", "stream": True, "n_predict": 999},
}
"""Every route that streams events."""
RESUMABLE = {"X-Outpost-Resumable": "1"}
LIMITS = ResumeLimits()


def slowly(words: list[str], *, every: int = 4) -> list[Line]:
    """A few milliseconds of silence now and then."""
    lines: list[Line] = []
    for number, line in enumerate(text_of(*words)):
        lines += [line, Silence(0.004)] if number % every == 0 else [line]
    return lines


@contextmanager
def kept(
    lines: list[Line],
    limits: ResumeLimits = LIMITS,
    **settings: Any,
) -> Iterator[tuple[Door, KeptStreams]]:
    streams = KeptStreams(limits)
    with opened(FakeInference(script=lambda _: lines), streams=streams, **settings) as door:
        try:
            yield door, streams
        finally:
            streams.close()


class Client:
    """On bad WiFi: asks once, and then for what it misses, until all has come."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self._address = address
        self._path = path
        self.events: dict[int, bytes] = {}
        self.connections = 0

    def whole(self) -> list[bytes]:
        body = json.dumps(BODIES[self._path])
        headers = {**RESUMABLE, "X-Request-Id": "wifi", "Content-Type": "application/json"}
        is_over = self._read("POST", self._path, body, headers)
        while not is_over:
            last = max(self.events, default=0)
            is_over = self._read("GET", "/outpost/v1/streams/wifi", None, {"Last-Event-ID": str(last)})
        assert list(self.events) == list(range(1, len(self.events) + 1))
        return list(self.events.values())

    def _read(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> bool:
        self.connections += 1
        assert self.connections < 2000
        connection = HTTPConnection(*self._address, timeout=10)
        received = b""
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            assert response.status in {200, 204}, response.read()
            if response.status == 200 and response.getheader("Transfer-Encoding") != "chunked":
                return False  # http.client takes a header that breaks off for a whole one
            while data := response.read1():
                received += data
        except (HTTPException, OSError):
            return self._take(received, is_whole=False)
        finally:
            connection.close()
        return self._take(received, is_whole=True)

    def _take(self, received: bytes, *, is_whole: bool) -> bool:
        *events, rest = received.split(b"\n\n")
        assert not (is_whole and rest)
        for event in events:
            if event.startswith(b":"):
                continue
            found = re.match(rb"id: (\d+)\n(.*)", event, re.DOTALL)
            assert found is not None, event
            assert int(found[1]) not in self.events, "it came twice"
            self.events[int(found[1])] = found[2]
        return is_whole


@pytest.mark.parametrize("path", BODIES)
def test_however_often_the_connection_breaks_every_event_comes_once_and_in_order(path: str) -> None:
    chance = random.Random(7)
    # The last events of a response hold its whole text: they must fit between two breaks.
    words, cuts = (WORDS[:80], 8) if path == "/v1/responses" else (WORDS, 30)
    with (
        kept(slowly(words)) as (door, _),
        CuttingProxy(door.server.address, lambda: chance.randint(1, 3000)) as proxy,
    ):
        events = Client(proxy.address, path).whole()
        assert proxy.cuts >= cuts
    assert len(door.inference.requests) == 1
    texts = [text_in(event, path) for event in events]
    assert "".join(texts) == "".join(words)


def text_in(event: bytes, path: str) -> str:
    data = event.rpartition(b"data: ")[2]
    if data == b"[DONE]":
        return ""
    told = json.loads(data)
    match path:
        case "/v1/messages":
            return str(told.get("delta", {}).get("text", ""))
        case "/v1/responses":
            return str(told["delta"]) if told["type"] == "response.output_text.delta" else ""
        case "/infill":
            return str(told["content"])
        case "/v1/completions":
            return str(told["choices"][0]["text"])
    return str(told["choices"][0]["delta"].get("content") or "")


def test_all_routes_that_stream_events_are_here() -> None:
    """Found in the document of routes, where each says what it streams."""
    document = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text(encoding="utf-8"))
    streaming = {
        path
        for path, item in document["paths"].items()
        for told in item.values()
        if "text/event-stream" in told["responses"].get("200", {}).get("content", {})
    }
    assert streaming - {"/outpost/v1/streams/{request_id}"} == set(BODIES)


def test_a_response_whose_reader_left_is_kept_whole_and_its_events_stay_numbered() -> None:
    """The numbers are two: ours, of the stream, and `sequence_number`, of the events."""
    with (
        kept(slowly(WORDS)) as (door, _),
        CuttingProxy(door.server.address, lambda: 8000) as proxy,
    ):
        events = Client(proxy.address, "/v1/responses").whole()
        assert proxy.cuts >= 3
        told = [json.loads(event.rpartition(b"data: ")[2]) for event in events]
        assert [one["sequence_number"] for one in told] == list(range(len(told)))
        assert [told[0]["type"], told[-1]["type"]] == ["response.created", "response.completed"]
        with OpenAI(base_url=f"{door.url}/v1", api_key="none") as client:
            assert client.responses.retrieve(told[0]["response"]["id"]).output_text == "".join(WORDS)


def ask(door: Door, request_id: str, headers: dict[str, str] | None = None) -> socket.socket:
    told = {"X-Request-Id": request_id, "Connection": "close", **(headers or {})}
    return door.knock(http("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), told))


def take_up(door: Door, request_id: str, last: int = 0) -> socket.socket:
    headers = {"Last-Event-ID": str(last), "Connection": "close"}
    return door.knock(http("GET", f"/outpost/v1/streams/{request_id}", headers=headers))


def test_without_the_header_who_leaves_is_cancelled_at_once() -> None:
    endless = [*text_of("a")[:1], *([Silence(0.02)] * 900), *text_of("b")]
    with kept(endless) as (door, streams):
        with ask(door, "plain") as connection:
            read_until(connection, b'"content":"a"')
        assert wait_for(lambda: door.inference.running == 0) < 2
        assert len(streams) == 0


def test_with_it_the_answer_goes_on_for_its_time_and_is_then_given_up() -> None:
    endless = [*text_of("a")[:1], *([Silence(0.02)] * 900), *text_of("b")]
    with kept(endless, ResumeLimits(keep_s=1.0)) as (door, streams):
        with ask(door, "s", RESUMABLE) as connection:
            read_until(connection, b'"content":"a"')
        assert wait_for(lambda: door.inference.running == 0) > 0.7
        wait_for(lambda: len(streams) == 0)
        with take_up(door, "s") as connection:
            assert status_of(read_all(connection)) == 404


def test_a_connection_that_is_dead_and_has_not_noticed_gives_way() -> None:
    with ExitStack() as stack:
        endless = [*text_of("a")[:1], *([Silence(0.02)] * 900), *text_of("b")]
        door, _ = stack.enter_context(kept(endless))
        first = stack.enter_context(ask(door, "s", RESUMABLE))
        read_until(first, b'"content":"a"')
        second = stack.enter_context(take_up(door, "s", 1))
        assert b'id: 2\ndata: {"id"' in read_until(second, b'"content":"a"')
        read_all(first)  # it ends, though its client has not left


def test_a_reader_that_takes_nothing_holds_the_bound_and_then_loses_the_stream() -> None:
    pieces = ["x" * 4000] * 3000  # 12 MB: more than sockets hold
    limits = ResumeLimits(bytes_per_stream=128 * 1024)
    server = ServerLimits(stall_s=1.0)
    with kept(list(text_of(*pieces)), limits, server_limits=server) as (door, streams):
        connection = socket.socket()
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(10)
            connection.connect(door.server.address)
            told = {"X-Request-Id": "s", "Connection": "close", **RESUMABLE}
            connection.sendall(http("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), told))
            wait_for(lambda: len(streams) == 1)
            (stream,) = streams._streams.values()
            sizes: list[int] = []

            def has_ended() -> bool:
                sizes.append(stream._log.size_bytes)
                return door.inference.running == 0

            wait_for(has_ended, timeout_s=15)
        assert max(sizes) <= 128 * 1024
        assert door.inference.generations[0].closed_after < len(pieces)
        with take_up(door, "s", stream._log.first_id) as again:
            assert b'"code":"cancelled"' in read_all(again)


def test_an_exchange_that_outlives_its_connection_can_be_cancelled_by_its_id() -> None:
    endless = [*text_of("a")[:1], *([Silence(0.02)] * 900), *text_of("b")]
    with kept(endless) as (door, _):
        with ask(door, "s", RESUMABLE) as connection:
            read_until(connection, b'"content":"a"')
        wait_for(lambda: b'"data":[]' not in door.ask(http("GET", "/outpost/v1/requests")))
        answer = door.ask(http("POST", "/outpost/v1/requests/s/cancel", headers={"Connection": "close"}))
        assert status_of(answer) == 200
        wait_for(lambda: door.inference.running == 0)
        with take_up(door, "s", 2) as connection:
            assert b'"code":"cancelled"' in read_all(connection)


def test_the_clients_read_resumable_streams_as_others() -> None:
    with kept(list(text_of("Hel", "lo"))) as (door, _):
        with OpenAI(base_url=f"{door.url}/v1", api_key="none", default_headers=RESUMABLE) as client:
            chunks = client.chat.completions.create(**CHAT)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
            with client.responses.stream(model=MODEL, input="hi") as answered:
                answered.until_done()
                assert answered.get_final_response().output_text == "Hello"
        with Anthropic(base_url=door.url, api_key="none", default_headers=RESUMABLE) as asker:
            told = {name: value for name, value in CHAT.items() if name != "stream"}
            with asker.messages.stream(**told) as stream:
                assert "".join(stream.text_stream) == "Hello"


def test_a_server_that_stops_leaves_no_stream_behind() -> None:
    going: list[Line] = [*text_of("a")[:1], *([Silence(0.02)] * 900), *text_of("b")]
    with kept(going) as (door, streams):
        with ask(door, "s", RESUMABLE) as connection:
            read_until(connection, b'"content":"a"')
        streams.close()
        assert door.inference.running == 0


def test_who_asks_for_progress_too_hears_of_the_queue_and_can_come_back() -> None:
    let_in: list[Line] = [Act(lambda: None), *text_of("a")]
    with kept(let_in) as (door, _):
        door.inference.queue.clear()
        with ask(door, "s", {**RESUMABLE, "X-Outpost-Progress": "1"}) as connection:
            read_until(connection, b": queue")
        door.inference.queue.set()
        wait_for(lambda: door.inference.running == 0 and bool(door.inference.generations))
        with take_up(door, "s") as connection:
            told = read_all(connection)
        assert b'"content":"a"' in told
        assert b"[DONE]" in told


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_lines_of_ollama_are_an_ordinary_answer_with_a_warning(path: str) -> None:
    body = (
        {"model": MODEL, "messages": CHAT["messages"]}
        if path == "/api/chat"
        else {"model": MODEL, "prompt": "hi"}
    )
    with kept(list(text_of("Hel", "lo"))) as (door, streams):
        told = {"X-Request-Id": "s", "Connection": "close", **RESUMABLE}
        answer = door.ask(http("POST", path, json.dumps(body).encode(), told))
        head, _, _ = answer.lower().partition(b"\r\n\r\n")
        assert status_of(answer) == 200
        assert b"x-outpost-resumable' is ignored: this answer is no stream of events" in head
        assert b"x-outpost-stream" not in head
        assert len(streams) == 0
