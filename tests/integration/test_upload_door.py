"""Blobs on their way into a real store over a real socket: nothing is held, nothing wrong is kept."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.api.ollama.blobs import MAX_UPLOADS
from appliance.api.server import ServerLimits
from appliance.api.server.upload_stream import MAX_DISCARDED_BYTES, MAX_HELD_BYTES
from appliance.store.outbound import Outbound
from appliance.store.settings import StorePolicy
from appliance.store.store import ModelStore
from tests.integration.api_door import Door, http, opened, read_all, read_until, status_of, wait_for

pytestmark = pytest.mark.integration

LIMITS = ServerLimits(max_body_bytes=64 * 1024, stall_s=1.0)
CONTENT = bytes(range(256)) * 16384  # 4 MiB, far above what any other body may have
PATH = f"/api/blobs/sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModelStore]:
    store = ModelStore(tmp_path / "store", StorePolicy(outbound=Outbound(), hub=None, floor_fraction=0.0))
    yield store
    store.close()


@pytest.fixture
def door(store: ModelStore) -> Iterator[Door]:
    with opened(server_limits=LIMITS, store=store, layout=store.layout) as door:
        yield door


def blobs_of(store: ModelStore) -> list[str]:
    return sorted(path.name for path in (store.layout.root / "blobs" / "sha256").iterdir())


def leftovers_of(store: ModelStore) -> list[Path]:
    return [path for path in store.layout.root.rglob("*upload*") if path.is_file()]


def in_chunks() -> Iterator[bytes]:
    for at in range(0, len(CONTENT), 100_000):
        yield CONTENT[at : at + 100_000]


def test_a_body_of_known_length_becomes_a_blob(door: Door, store: ModelStore) -> None:
    assert httpx.head(door.url + PATH).status_code == 404
    assert httpx.post(door.url + PATH, content=CONTENT).status_code == 201
    assert blobs_of(store) == [PATH.rpartition(":")[2]]
    assert httpx.head(door.url + PATH).status_code == 200
    assert leftovers_of(store) == []


def test_a_body_in_chunks_does_too_and_the_connection_goes_on(door: Door) -> None:
    with httpx.Client(base_url=door.url) as client:
        assert client.post(PATH, content=in_chunks()).status_code == 201
        assert client.get("/api/version").status_code == 200
        assert client.post(PATH, content=in_chunks()).status_code == 200
        assert client.get("/api/version").status_code == 200


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, MAX_HELD_BYTES, MAX_HELD_BYTES + 1])
def test_no_length_is_special(door: Door, size: int) -> None:
    content = CONTENT[:size]
    path = f"/api/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
    assert httpx.post(door.url + path, content=content).status_code == 201


def test_bytes_that_are_not_what_their_digest_says_are_not_kept(door: Door, store: ModelStore) -> None:
    answer = httpx.post(door.url + PATH, content=CONTENT[:-1] + b"x")
    assert (answer.status_code, "not what its digest says" in answer.json()["error"]) == (400, True)
    assert (blobs_of(store), leftovers_of(store)) == ([], [])


def test_a_client_that_waits_for_leave_gets_it_when_its_body_is_wanted(door: Door) -> None:
    header = http("POST", PATH, b"", {"Content-Length": str(len(CONTENT)), "Expect": "100-continue"})
    with door.knock(header) as connection:
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(CONTENT)
        assert status_of(read_until(connection, b"\r\n\r\n")) == 201


def test_a_client_that_may_not_is_told_before_its_body_comes(store: ModelStore) -> None:
    key = generate()
    ring = KeyRing({key.key_id: StoredKey(sha256=key.sha256, scopes=frozenset({Scope.INFER}))})
    with opened(server_limits=LIMITS, store=store, keys=ring) as door:
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {key.text}"}, 403)):
            told = {"Content-Length": str(1 << 40), "Expect": "100-continue", **headers}
            with door.knock(http("POST", PATH, b"", told)) as connection:
                assert status_of(read_until(connection, b"\r\n\r\n")) == status
                read_all(connection)
                assert connection.recv(1) == b"", "what he sends next would be taken for his body"
    assert (blobs_of(store), leftovers_of(store)) == ([], [])


def test_what_would_not_fit_on_the_disk_is_refused_by_its_length(door: Door, store: ModelStore) -> None:
    with door.knock(http("POST", PATH, b"", {"Content-Length": str(1 << 50)})) as connection:
        assert status_of(read_until(connection, b"\r\n\r\n")) == 507
    assert leftovers_of(store) == []


def test_a_client_that_leaves_leaves_nothing(door: Door, store: ModelStore) -> None:
    with door.knock(http("POST", PATH, b"", {"Content-Length": str(len(CONTENT))})) as connection:
        connection.sendall(CONTENT[: 1 << 20])
        wait_for(lambda: bool(leftovers_of(store)))
    wait_for(lambda: not leftovers_of(store))
    assert blobs_of(store) == []


def test_a_client_that_stops_in_the_middle_is_given_up(door: Door, store: ModelStore) -> None:
    with door.knock(http("POST", PATH, b"", {"Content-Length": str(len(CONTENT))})) as connection:
        connection.sendall(CONTENT[: 1 << 20])
        assert status_of(read_until(connection, b"\r\n\r\n")) == 400
    assert leftovers_of(store) == []


def test_a_flood_that_nobody_wants_is_cut_off(door: Door) -> None:
    sent = 0
    with door.knock(http("POST", "/api/blobs/x", b"", {"Content-Length": str(1 << 40)})) as connection:
        try:
            while sent < 8 * MAX_DISCARDED_BYTES:
                sent += connection.send(CONTENT)
        except (ConnectionError, TimeoutError):
            pass
    assert sent < 8 * MAX_DISCARDED_BYTES


def test_chunks_that_are_none_end_the_connection(door: Door, store: ModelStore) -> None:
    header = http("POST", PATH, b"", {}).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with door.knock(header + b"5\r\nhello\r\nzz\r\n") as connection:
        read_all(connection)
    wait_for(lambda: not leftovers_of(store))
    assert blobs_of(store) == []


def test_what_follows_a_body_is_the_next_request_and_no_part_of_it(door: Door) -> None:
    content = b"hello"
    path = f"/api/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
    both = http("POST", path, content) + http("GET", "/api/version", b"", {"Connection": "close"})
    answers = door.ask(both)
    assert [status_of(b"HTTP/1.1" + part) for part in answers.split(b"HTTP/1.1")[1:]] == [201, 200]


def test_other_bodies_are_as_bounded_as_before(door: Door) -> None:
    answer = httpx.post(f"{door.url}/api/chat", content=b"x" * (LIMITS.max_body_bytes + 1))
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "the body is larger than this Outpost takes"},
    )


def test_more_uploads_than_places_are_told_to_come_again(door: Door) -> None:
    header = {"Content-Length": str(len(CONTENT))}
    others = [f"/api/blobs/sha256:{hashlib.sha256(bytes([n])).hexdigest()}" for n in range(MAX_UPLOADS)]
    held = [door.knock(http("POST", path, b"", header)) for path in others]
    try:
        wait_for(
            lambda: sum(thread.name.startswith("http-") for thread in threading.enumerate()) > MAX_UPLOADS
        )
        time.sleep(0.1)
        answer = httpx.post(door.url + PATH, content=CONTENT)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    finally:
        for connection in held:
            connection.close()
