"""With the starter model: a stream that is taken up again, and requests that are cancelled by their ids."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import wait_until
from tests.fakes import tiny_gguf

LONG = "Tell me a long story about a fox, a river and a mill."
CHAT = "/v1/chat/completions"


def ask(
    daemon: Daemon, path: str, request_id: str, headers: dict[str, str] | None = None, **body: Any
) -> Any:
    told = {"Content-Type": "application/json", "X-Request-Id": request_id, **(headers or {})}
    request = urllib.request.Request(daemon.url + path, json.dumps(body).encode(), told)
    return urllib.request.urlopen(request, timeout=60)


def story(**fields: Any) -> dict[str, Any]:
    """Greedy, and as long as it is asked for."""
    messages = [{"role": "user", "content": LONG}]
    return {
        "model": STARTER_NAME,
        "messages": messages,
        "temperature": 0,
        "max_tokens": 24,
        "ignore_eos": True,
        **fields,
    }


def cancel(daemon: Daemon, request_id: str) -> int:
    path = f"/outpost/v1/requests/{request_id}/cancel"
    request = urllib.request.Request(daemon.url + path, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: int = json.load(answer)["cancelled"]
    return found


def state(daemon: Daemon, request_id: str) -> str | None:
    listed = json.loads(daemon.get("/outpost/v1/requests"))["data"]
    return next((item["state"] for item in listed if item["id"] == request_id), None)


def text_of(events: bytes) -> str:
    found = re.findall(rb"^data: (\{.*)$", events, re.MULTILINE)
    return "".join(json.loads(data)["choices"][0]["delta"].get("content") or "" for data in found)


def first_events(answer: HTTPResponse, count: int) -> bytes:
    events = b""
    while events.count(b"\n\n") < count:
        line = answer.readline()
        assert line
        events += b"" if line.startswith(b":") else line
    return events


def test_a_stream_is_taken_up_where_its_connection_was_lost(daemon: Daemon) -> None:
    with ask(daemon, CHAT, "whole", **story()) as answer:
        whole = json.load(answer)["choices"][0]["message"]["content"]
    with ask(daemon, CHAT, "wifi", {"X-Outpost-Resumable": "1"}, **story(stream=True)) as answer:
        place = answer.headers["X-Outpost-Stream"]
        begun = first_events(answer, 5)
    missing = urllib.request.Request(daemon.url + place, headers={"Last-Event-ID": "5"})
    with urllib.request.urlopen(missing, timeout=60) as answer:
        rest = answer.read()
    assert text_of(begun + rest) == whole
    ids = [int(found) for found in re.findall(rb"^id: (\d+)$", begun + rest, re.MULTILINE)]
    assert ids == list(range(1, len(ids) + 1))
    assert rest.endswith(b"data: [DONE]\n\n")


class Asking:
    """A request on a thread of its own, which is to be cancelled."""

    def __init__(self, daemon: Daemon, path: str, request_id: str, **body: Any) -> None:
        self.status = 0
        self._asked: Callable[[], Any] = lambda: ask(daemon, path, request_id, **body)
        self._thread = threading.Thread(target=self._run, name="asking")
        self._thread.start()

    def join(self) -> int:
        self._thread.join(20)
        return self.status

    def _run(self) -> None:
        try:
            with self._asked() as answer:
                self.status = answer.status
        except urllib.error.HTTPError as refusal:
            self.status = refusal.code
            refusal.close()


@pytest.mark.parametrize(("at", "prompt"), [("prefill", "many words " * 700), ("decode", LONG)])
def test_a_whole_answer_is_cancelled_while_it_is_computed(daemon: Daemon, at: str, prompt: str) -> None:
    messages = [{"role": "user", "content": prompt}]
    asking = Asking(daemon, CHAT, at, **story(messages=messages, max_tokens=500))
    wait_until(lambda: state(daemon, at) == at, within_s=30, what=at)
    assert cancel(daemon, at) == 1
    assert asking.join() == 499
    wait_until(lambda: daemon.running_requests() == 0, within_s=5, what="the sequence is freed")


def test_embeddings_are_cancelled(daemon: Daemon) -> None:
    inputs = ["a b c d e f g h " * 10] * 2048
    asking = Asking(daemon, "/v1/embeddings", "embed", model="tiny-embed", input=inputs)
    wait_until(lambda: state(daemon, "embed") == "running", within_s=30, what="it runs")
    assert cancel(daemon, "embed") == 1
    assert asking.join() == 499
    wait_until(lambda: daemon.running_requests() == 0, within_s=10, what="the runner is free")


def test_a_daemon_that_stops_does_not_wait_for_clients_that_may_come_back(tmp_path: Path) -> None:
    tiny = tiny_gguf.write_generator(tmp_path / "tiny.gguf")
    with Daemon(tmp_path, models={"tiny": tiny}, config="[server]\ndrain_s = 0.5\nresume_s = 600") as daemon:
        body = {"model": "tiny", "prompt": "a", "max_tokens": 5, "stream": True}
        headers = {"X-Outpost-Resumable": "1"}
        ask(daemon, "/v1/completions", "ended", headers, **body).read()
        ask(daemon, "/v1/completions", "left", headers, **{**body, "max_tokens": 1500}).close()
        started_s = time.monotonic()
        daemon.stop()
        assert time.monotonic() - started_s < 8
    assert "stream_left_behind" not in daemon.log()
