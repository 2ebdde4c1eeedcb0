"""A prompt is kept nowhere: not in the data directory, the journal, metrics, or titles of processes."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.access import keys as access_keys
from tests.daemon import Daemon
from tests.fakes.model_files import generator
from tests.integration.supervisor.conftest import eventually

KEY = access_keys.generate()
CONFIG = f"""
[log]
level = "debug"
requests_bytes = 1000000
[access.keys]
{KEY.key_id} = {{ sha256 = "{KEY.sha256}", scopes = ["infer", "system", "metrics"] }}
[quotas]
requests_per_min = 60
tokens_per_min = 100000
[queue]
max_running = 1
max_waiting = 1
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "one", models={"tiny": generator()}, config=CONFIG) as running:
        yield running


class Client:
    """Each prompt has the canary in it, in every place that a text can stand in."""

    def __init__(self, daemon: Daemon, canary: str) -> None:
        self.canary = canary
        self._http = httpx.Client(
            base_url=daemon.url,
            headers={"Authorization": f"Bearer {KEY.text}"},
            timeout=60,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def body(self, **fields: Any) -> dict[str, Any]:
        return {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": f"be {self.canary}"},
                {"role": "user", "content": f"{self.canary} hi"},
            ],
            "max_tokens": 8,
            "stop": [self.canary],
            **fields,
        }

    def chat(self, **fields: Any) -> httpx.Response:
        return self._http.post("/v1/chat/completions", json=self.body(**fields))

    def raw(self, content: bytes) -> httpx.Response:
        return self._http.post(
            "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
        )

    def hang_up(self, **fields: Any) -> None:
        """After the first bytes of the answer."""
        body = self.body(stream=True, max_tokens=2000, ignore_eos=True, **fields)
        with self._http.stream("POST", "/v1/chat/completions", json=body) as answer:
            for _ in answer.iter_bytes():
                break

    def get(self, path: str) -> httpx.Response:
        answer = self._http.get(path)
        assert answer.status_code == 200, answer.text
        return answer

    def running(self) -> int:
        """Requests that hold a model."""
        return sum(runner["running"] for runner in self.get("/healthz").json()["runners"])


def places_with(needle: bytes, daemon: Daemon) -> list[str]:
    """Files of the daemon that have it."""
    folder = daemon.log_path.parent
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and needle in path.read_bytes():
                found.append(str(path.relative_to(folder)))
    return found


def titles(daemon: Daemon) -> bytes:
    """Of the daemon and all its children: names, command lines, environments, names of threads."""
    told = b""
    for process in [daemon.process(), *daemon.runners()]:
        for path in (Path("/proc") / str(process.pid)).glob("task/*/comm"):
            with contextlib.suppress(OSError):
                told += path.read_bytes()
        for name in ("cmdline", "environ", "comm"):
            with contextlib.suppress(OSError):
                told += (Path("/proc") / str(process.pid) / name).read_bytes()
    return told


def lines_of(daemon: Daemon) -> list[dict[str, Any]]:
    """Of its journal."""
    return [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]


def test_a_prompt_is_found_nowhere_whatever_becomes_of_it(daemon: Daemon) -> None:
    canary = f"canary-{secrets.token_hex(12)}"
    client = Client(daemon, canary)
    seen = b""
    try:
        assert client.chat().status_code == 200
        assert client.chat(stream=True).status_code == 200
        tool = {"type": "function", "function": {"name": "f", "description": canary}}
        assert client.chat(tools=[tool]).status_code in {200, 400}
        client.hang_up()
        queued = [threading.Thread(target=client.hang_up) for _ in range(4)]
        for thread in queued:
            thread.start()
        seen += titles(daemon)
        refused = [client.chat() for _ in range(3)]
        for thread in queued:
            thread.join(60)
        failing = [
            client.chat(messages=[{"role": "user", "content": f"{canary} " * 4000}]),
            client.chat(temperature=canary),
            client.chat(response_format={"type": "json_schema", "json_schema": canary}),
            client.chat(grammar=f'root ::= "{canary}" missing'),
            client.chat(model="nope"),
            client.chat(unknown=canary),
            client.raw(b'{"model": "tiny", "messages": "' + canary.encode()),
            client.raw(json.dumps([canary]).encode()),
        ]
        assert all(400 <= answer.status_code < 500 for answer in failing), failing
        while (answer := client.chat()).status_code in {200, 503}:
            refused.append(answer)
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        seen += client.get("/metrics").content + client.get("/v1/queue").content
        seen += client.get("/outpost/v1/usage").content + client.get("/healthz").content
        eventually(lambda: client.running() == 0, within_s=30.0)
        seen += titles(daemon)
        assert places_with(canary.encode(), daemon) == []
    finally:
        client.close()
    daemon.stop()
    assert b"tiny" in seen
    assert canary.encode() not in seen
    assert places_with(canary.encode(), daemon) == []
    assert "data/usage.db" in places_with(KEY.key_id.encode(), daemon), "the search itself finds nothing"
    fates = [line.get("error") for line in lines_of(daemon) if line["event"] == "request"]
    assert {None, "overloaded", "context_length_exceeded", "invalid_value", "rate_limit_exceeded"} <= {*fates}
    assert "data/requests.jsonl" in places_with(KEY.key_id.encode(), daemon)
    assert any(line.get("client_gone") for line in lines_of(daemon))
