"""The queue as clients see it: real sockets, the real supervisor, runner processes around the fake engine."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from appliance.api.app import create_app
from appliance.api.server import Server, ServerLimits, serve
from appliance.supervisor.policy import QueuePolicy
from appliance.supervisor.supervisor import Supervisor
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_engine import write_model
from tests.fakes.fake_health import report_of
from tests.fakes.fake_inference import FakeInference
from tests.integration.api_door import http, read_all, read_until, status_of
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec, supervise

pytestmark = [pytest.mark.alone, pytest.mark.integration]
__all__ = ["supervise"]

POLICY = QueuePolicy(max_running=1, max_waiting=3, patience_s=20.0)
FOREVER = 100_000


class Door:
    """A server before a supervisor with one model, `m`, of which one request runs at a time."""

    def __init__(self, supervisor: Supervisor, server: Server) -> None:
        self.supervisor = supervisor
        self.server = server

    def send(self, *, headers: dict[str, str] | None = None, **fields: object) -> socket.socket:
        """A chat, over a connection of its own that stays open."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **fields}
        connection = socket.create_connection(self.server.address, timeout=10.0)
        told = {"Connection": "close", **(headers or {})}
        connection.sendall(http("POST", "/v1/chat/completions", json.dumps(body).encode(), told))
        return connection

    def answer(self, **asked: object) -> bytes:
        with self.send(**asked) as connection:  # type: ignore[arg-type]
            return read_all(connection)

    def listing(self) -> list[dict[str, object]]:
        with socket.create_connection(self.server.address, timeout=10.0) as connection:
            connection.sendall(http("GET", "/v1/queue", headers={"Connection": "close"}))
            answer = read_all(connection)
        found: list[dict[str, object]] = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]
        return found

    @contextmanager
    def busy(self, *behind: dict[str, str]) -> Iterator[ExitStack]:
        """One answer runs until the stack is closed, and one request with each of these headers waits."""
        with ExitStack() as stack:
            running = stack.enter_context(self.send(stream=True, max_tokens=FOREVER))
            read_until(running, b'"content":"0 ')
            for number, headers in enumerate(behind, 1):
                stack.enter_context(self.send(headers=headers))
                eventually(lambda number=number: len(self.listing()) == number)  # type: ignore[misc]
            yield stack


@pytest.fixture
def door(supervise: MakeSupervisor, tmp_path: Path) -> Iterator[Door]:
    supervisor = supervise(spec(write_model(tmp_path / "m.gguf", step_s=0.01)), queue=POLICY)
    app = create_app(parts_of(supervisor, report=report_of(FakeInference())))
    with serve(app, listen=("127.0.0.1", 0), limits=ServerLimits()) as server:
        yield Door(supervisor, server)


def header(answer: bytes, name: str) -> str | None:
    head = answer.partition(b"\r\n\r\n")[0].decode()
    found = re.search(rf"^{name}: (.*)$", head, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else None


def test_who_asked_for_progress_hears_where_he_stands_again_and_again(door: Door) -> None:
    with door.busy({}) as stack:
        connection = stack.enter_context(door.send(stream=True, headers={"X-Outpost-Progress": "1"}))
        began = read_until(connection, b": queue position=2 eta_s=")
        assert status_of(began) == 200
        assert header(began, "X-Outpost-Queue-Position") == "2"
        assert b"data:" not in began + read_until(connection, b": queue")


def test_who_does_not_wait_gets_an_ordinary_stream_though_he_asked_for_progress(door: Door) -> None:
    door.answer()  # now it is loaded
    answer = door.answer(stream=True, headers={"X-Outpost-Progress": "1"})
    assert b": queue" not in answer
    assert header(answer, "X-Outpost-Queue-S") is not None
    assert b"data: [DONE]" in answer


def test_the_stream_that_waited_ends_with_its_answer(door: Door) -> None:
    with door.busy() as stack, door.send(stream=True, headers={"X-Outpost-Progress": "1"}) as waiting:
        read_until(waiting, b": queue position=1")
        stack.close()
        rest = read_all(waiting)
    assert rest.count(b'"content":"') >= 2
    assert b"data: [DONE]" in rest


def test_the_openai_client_reads_a_stream_that_began_in_line(door: Door) -> None:
    with door.busy() as stack:
        freer = threading.Timer(2.5, stack.close)
        freer.start()
        with OpenAI(base_url=f"{door.server.url}/v1", api_key="none", max_retries=0) as client:
            chunks = list(
                client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": "hi"}],
                    max_tokens=3,
                    stream=True,
                    extra_headers={"X-Outpost-Progress": "1"},
                )
            )
        freer.join()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "0 1 2 "
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_deadline_in_line_is_a_504_and_a_displaced_stream_is_told_in_its_last_event(door: Door) -> None:
    with door.busy():
        answer = door.answer(headers={"X-Outpost-Deadline-S": "0.3"})
        assert status_of(answer) == 504
        assert b'"code":"deadline_exceeded"' in answer
        assert header(answer, "Retry-After") is not None
        assert float(header(answer, "X-Outpost-Queue-S") or "0") >= 0.3
        begun = door.answer(headers={"X-Outpost-Deadline-S": "0.3", "X-Outpost-Progress": "1"}, stream=True)
    assert status_of(begun) == 200
    assert b'data: {"error":{"message":"its deadline of 0.3 s passed' in begun
    assert b"[DONE]" not in begun


def test_a_running_answer_ends_at_its_deadline(door: Door) -> None:
    answer = door.answer(stream=True, max_tokens=FOREVER, headers={"X-Outpost-Deadline-S": "1"})
    assert b'data: {"error":{"message":"the answer was not complete within 1 s' in answer
    whole = door.answer(max_tokens=FOREVER, headers={"X-Outpost-Deadline-S": "0.5"})
    assert status_of(whole) == 504


def test_the_listing_tells_of_all_who_wait(door: Door) -> None:
    with door.busy({"X-Outpost-Priority": "background", "X-Request-Id": "slow"}, {"X-Request-Id": "quick"}):
        shown = door.listing()
        assert [(one["id"], one["priority"], one["position"]) for one in shown] == [
            ("quick", "realtime", 1),
            ("slow", "background", 2),
        ]
        assert all(one["model"] == "m" and one["owner"] == "127.0.0.1" for one in shown)
        assert shown[0]["eta_s"] is not None
    eventually(lambda: door.listing() == [])


def test_the_request_past_the_bound_is_refused_within_50_ms_with_when_to_come_again(door: Door) -> None:
    took_s = []
    with door.busy({}, {}, {}):
        for _ in range(20):
            asked_s = time.monotonic()
            answer = door.answer()
            took_s.append(time.monotonic() - asked_s)
            assert status_of(answer) == 503
            assert b'"code":"overloaded"' in answer
            assert int(header(answer, "Retry-After") or "0") >= 1
    took_s.sort()
    print(f"503 over HTTP: median {1000 * took_s[10]:.1f} ms, worst {1000 * took_s[-1]:.1f} ms")
    assert took_s[10] < 0.05


def test_who_waited_is_told_so_in_the_headers_of_his_whole_answer(door: Door) -> None:
    with door.busy() as stack, door.send() as waiting:
        eventually(lambda: len(door.listing()) == 1)
        stack.close()
        answer = read_all(waiting)
    assert status_of(answer) == 200
    assert header(answer, "X-Outpost-Queue-Position") == "1"
    assert float(header(answer, "X-Outpost-Queue-S") or "0") > 0
    assert header(door.answer(), "X-Outpost-Queue-Position") == "0"


def test_a_client_that_leaves_the_line_is_out_of_it(door: Door) -> None:
    with door.busy():
        with door.send(stream=True, headers={"X-Outpost-Progress": "1"}) as connection:
            read_until(connection, b": queue position=1")
        eventually(lambda: door.listing() == [])
