"""A cancel by id: real sockets, the real supervisor, runner processes around the fake engine, and the command
line.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.api.app import create_app
from appliance.api.server import ServerLimits, serve
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_engine import write_model
from tests.fakes.fake_health import report_of
from tests.fakes.fake_inference import FakeInference
from tests.integration.api_door import http, in_threads, read_all, read_until, status_of
from tests.integration.command_line import one_line, outpost
from tests.integration.supervisor.conftest import MakeSupervisor, eventually, spec, supervise
from tests.integration.test_queue_door import FOREVER, POLICY, Door

pytestmark = pytest.mark.integration
__all__ = ["supervise"]
STEP_S = 0.01
SOON_S = 1.0
"""The wish is seen within 0.25 s; the rest is for a busy machine."""


class Cancellable(Door):
    def ask(self, request_id: str, *, path: str = "/v1/chat/completions", **fields: object) -> socket.socket:
        told = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        body = {"model": "m", "content": "a b"} if path == "/tokenize" else told
        connection = socket.create_connection(self.server.address, timeout=10.0)
        headers = {"Connection": "close", "X-Request-Id": request_id}
        connection.sendall(http("POST", path, json.dumps(body).encode(), headers))
        return connection

    def requests(self) -> dict[str, dict[str, object]]:
        with urllib.request.urlopen(f"{self.server.url}/outpost/v1/requests", timeout=10) as answer:
            return {item["id"]: item for item in json.load(answer)["data"]}

    def cancel(self, request_id: str) -> int:
        path = f"/outpost/v1/requests/{request_id}/cancel"
        request = urllib.request.Request(self.server.url + path, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: int = json.load(answer)["cancelled"]
        return found

    def is_free(self) -> bool:
        (model,) = self.supervisor.status()
        return not (model.running or model.waiting)


@pytest.fixture
def door(supervise: MakeSupervisor, tmp_path: Path) -> Iterator[Cancellable]:
    supervisor = supervise(spec(write_model(tmp_path / "m.gguf", step_s=STEP_S, prepare_s=0.6)), queue=POLICY)
    app = create_app(parts_of(supervisor, report=report_of(FakeInference())))
    with serve(app, listen=("127.0.0.1", 0), limits=ServerLimits()) as server:
        yield Cancellable(supervisor, server)


def cancelled(door: Cancellable, connection: socket.socket, request_id: str) -> bytes:
    """What comes after the cancel, which must be soon."""
    started_s = time.monotonic()
    assert door.cancel(request_id) == 1
    rest = read_all(connection)
    assert time.monotonic() - started_s < SOON_S
    eventually(door.is_free)
    return rest


def test_a_stream_ends_with_the_error_and_frees_its_place(door: Cancellable) -> None:
    with door.ask("s", stream=True, max_tokens=FOREVER) as connection:
        read_until(connection, b'"content":"5 ')
        assert door.requests()["s"]["state"] == "decode"
        assert int(str(door.requests()["s"]["output_tokens"])) >= 5
        rest = cancelled(door, connection, "s")
    assert b'"code":"cancelled"' in rest
    assert b"[DONE]" not in rest
    assert door.requests() == {}


def test_a_whole_answer_is_499(door: Cancellable) -> None:
    with door.ask("w", max_tokens=FOREVER) as connection:
        eventually(lambda: door.requests().get("w", {}).get("state") == "decode")
        rest = cancelled(door, connection, "w")
    assert status_of(rest) == 499
    assert b'"code":"cancelled"' in rest


def test_a_message_of_anthropics_ends_in_its_own_form(door: Cancellable) -> None:
    with door.ask("a", path="/v1/messages", stream=True, max_tokens=FOREVER) as connection:
        read_until(connection, b'"text":"5 ')
        rest = cancelled(door, connection, "a")
    assert b"event: error" in rest
    assert b"message_stop" not in rest


def test_a_request_that_is_prepared_is_cancelled(door: Cancellable) -> None:
    with door.ask("p", stream=True) as connection:
        eventually(lambda: door.requests().get("p", {}).get("state") == "running")
        rest = cancelled(door, connection, "p")
    assert status_of(rest) == 499


def test_what_is_no_generation_is_cancelled(door: Cancellable) -> None:
    with door.ask("t", path="/tokenize") as connection:
        eventually(lambda: door.requests().get("t", {}).get("state") == "running")
        rest = cancelled(door, connection, "t")
    assert status_of(rest) == 499


def test_who_waits_leaves_the_queue_and_the_others_stay(door: Cancellable) -> None:
    with door.busy({}), door.ask("q") as connection:
        eventually(lambda: len(door.listing()) == 2)
        assert door.requests()["q"]["state"] == "waiting"
        assert door.cancel("q") == 1
        assert status_of(read_all(connection)) == 499
        assert len(door.listing()) == 1


def test_an_id_that_is_used_twice_ends_both(door: Cancellable) -> None:
    with door.ask("d", stream=True, max_tokens=FOREVER) as first:
        read_until(first, b'"content":"0 ')  # else either may be the first
        with door.ask("d", stream=True, max_tokens=FOREVER) as second:
            eventually(lambda: len(door.listing()) == 1)
            assert door.cancel("d") == 2
            assert b'"code":"cancelled"' in read_all(first)
            assert status_of(read_all(second)) == 499
    eventually(door.is_free)


def test_many_cancels_and_answers_at_once_leave_nothing_behind(door: Cancellable) -> None:
    def one(number: int) -> None:
        with door.ask(f"r{number % 3}", stream=True, max_tokens=5) as connection:
            with suppress(urllib.error.HTTPError):  # it had ended, or was refused for the full queue
                door.cancel(f"r{number % 3}")
            read_all(connection)

    in_threads(8, one)
    eventually(door.is_free)
    assert door.requests() == {}


def test_the_command_line_lists_and_cancels(door: Cancellable, tmp_path: Path) -> None:
    host = door.server.url.removeprefix("http://")
    assert outpost(None, tmp_path, "requests", OUTPOST_HOST=host).stdout == "nothing runs or waits\n"
    with door.ask("cli-1", stream=True, max_tokens=FOREVER) as connection:
        read_until(connection, b'"content":"0 ')
        lines = outpost(None, tmp_path, "requests", OUTPOST_HOST=host).stdout.splitlines()
        assert lines[0].split() == ["ID", "MODEL", "STATE", "AGE", "TOKENS", "ROUTE", "KEY"]
        assert lines[1].split()[:3] == ["cli-1", "m", "decode"]
        done = outpost(None, tmp_path, "cancel", "cli-1", OUTPOST_HOST=host)
        assert (done.returncode, done.stdout) == (0, "cli-1 is cancelled\n")
        assert b'"code":"cancelled"' in read_all(connection)
    again = outpost(None, tmp_path, "cancel", "no/such id", "--json", OUTPOST_HOST=host)
    assert again.returncode == os.EX_NOINPUT
    assert "no/such id" in again.stderr
    assert one_line(outpost(None, tmp_path, "cancel", "x", OUTPOST_HOST=host).stderr).startswith("no request")
