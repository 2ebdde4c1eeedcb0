"""The shipped configuration of HAProxy before the door: what it keeps away, and what it lets through."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.fakes.haproxy import DoorProcess, HAProxy
from tests.fakes.smuggling import ROUTE, SMUGGLED, TWO_FOR_HAPROXY, VECTORS
from tests.integration.api_door import PROMPT, chat_request, http, read_all, read_until, status_of, wait_for

pytestmark = [pytest.mark.alone, pytest.mark.integration]
Address = tuple[str, int]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    with DoorProcess(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(door: DoorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    with HAProxy(door, tmp_path_factory.mktemp("haproxy")) as running:
        yield running


def ask(address: Address, request: bytes, *, timeout_s: float = 1.0) -> bytes:
    with socket.create_connection(address, timeout=timeout_s) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was sent whole
            connection.sendall(request)
        return read_all(connection)


def answers_of_the_door(answer: bytes) -> int:
    """Those that Outpost itself has given: HAProxy's own have no request id."""
    return len(re.findall(rb"^x-request-id:", answer, re.IGNORECASE | re.MULTILINE))


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("way", ["through HAProxy", "directly"])
def test_no_request_is_smuggled(door: DoorProcess, proxy: HAProxy, vector: str, way: str) -> None:
    is_direct = way == "directly"
    before = len(door.requests)
    answer = ask(door.address if is_direct else proxy.address, VECTORS[vector], timeout_s=0.4)
    time.sleep(0.05)  # the line of a request is printed behind its answer
    # HAProxy asks whether the door is well now and then.
    reached = [line for line in list(door.requests)[before:] if line != "GET /healthz 200"]
    most = 2 if vector in TWO_FOR_HAPROXY and not is_direct else 1
    assert len([line for line in reached if ROUTE in line]) == most - 1, reached
    assert len(reached) <= answers_of_the_door(answer) <= 2, "somebody else's request has an answer of his"


def test_what_is_meant_once_is_answered_once_through_it(door: DoorProcess, proxy: HAProxy) -> None:
    before = len(door.requests)
    answer = ask(proxy.address, chat_request())
    assert status_of(answer) == 200
    assert b"one two three four" in answer
    assert answers_of_the_door(answer) == 1
    wait_for(lambda: len(door.requests) > before)


def test_two_requests_of_one_connection_are_two(proxy: HAProxy) -> None:
    answer = ask(
        proxy.address, chat_request(close=False) + http("GET", "/v1/models", headers={"Connection": "close"})
    )
    assert answers_of_the_door(answer) == 2


def test_a_stream_comes_token_by_token_and_ends_when_its_client_goes(
    door: DoorProcess, proxy: HAProxy
) -> None:
    request = chat_request(stream=True, messages=[{"role": "user", "content": "endless"}])
    before = len(door.requests)
    with socket.create_connection(proxy.address, timeout=5) as connection:
        connection.sendall(request)
        began_s = time.perf_counter()
        read_until(connection, b'"content":" 3 ')
        assert time.perf_counter() - began_s < 1.0
    wait_for(lambda: any("/v1/chat/completions" in line for line in list(door.requests)[before:]))


def test_faults_of_the_proxy_have_the_form_of_all_others(proxy: HAProxy) -> None:
    without_host = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
    too_large = http("POST", "/tokenize", headers={"Content-Length": str(17 * 1024 * 1024)})
    for request, status, code in (
        (without_host, 400, "invalid_request"),
        (too_large, 413, "request_too_large"),
    ):
        answer = ask(proxy.address, request)
        assert status_of(answer) == status
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == code
        assert error["message"]


def test_without_outpost_it_says_so_at_once(tmp_path: Path) -> None:
    with DoorProcess(tmp_path) as gone:
        pass
    with HAProxy(gone, tmp_path) as proxy:
        began_s = time.perf_counter()
        answer = httpx.post(
            f"http://127.0.0.1:{proxy.address[1]}/v1/chat/completions", json=PROMPT, trust_env=False
        )
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "overloaded"
        assert answer.headers["retry-after"] == "2"
        assert time.perf_counter() - began_s < 4


def test_who_calls_is_said_by_the_proxy_alone(proxy: HAProxy) -> None:
    """No spelling of a caller's own makes it one of this machine, who may name its files."""
    body = b'{"verb": "export", "name": "tiny", "path": "/a"}'
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        answer = ask(
            proxy.address,
            http("POST", "/outpost/v1/operations", body, {header: "127.0.0.1", "Connection": "close"}),
        )
        assert status_of(answer) in {403, 404}


def test_a_body_larger_than_a_buffer_comes_whole(proxy: HAProxy) -> None:
    text = "word " * 100_000
    answer = ask(proxy.address, chat_request(messages=[{"role": "user", "content": text}]), timeout_s=5)
    assert status_of(answer) == 200


def is_well(address: Address, source: str = "127.0.0.1") -> bool:
    """Whether a request for health is answered."""
    request = http("GET", "/healthz", headers={"Connection": "close"})
    try:
        with socket.create_connection(address, timeout=2, source_address=(source, 0)) as connection:
            connection.sendall(request)
            return status_of(read_all(connection)) == 200
    except OSError:
        return False


def test_one_address_has_so_many_connections_and_no_more(door: DoorProcess, tmp_path: Path) -> None:
    with HAProxy(door, tmp_path, OUTPOST_SOURCE="10") as proxy, ExitStack() as held:
        # One that has just ended may count for a moment longer, and cost one of ours its place.
        for _ in range(30):
            with suppress(ConnectionResetError):
                held.enter_context(socket.create_connection(proxy.address, timeout=2))
        wait_for(lambda: not is_well(proxy.address), timeout_s=9)  # idle ones are closed after ten seconds
        assert is_well(proxy.address, source="127.0.0.2")
        held.close()
        wait_for(lambda: is_well(proxy.address), timeout_s=30)


def test_smuggling_vectors_carry_what_they_say() -> None:
    assert len(VECTORS) >= 20
    assert all(b"/v1/models/smuggled" in request for request in VECTORS.values())
    assert SMUGGLED.count(b"\r\n\r\n") == 1
