"""A client of the whole WSGI application over a fake Inference, without a socket."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing

from appliance.api.app import create_app
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_inference import MODEL, FakeInference

HERE = "127.0.0.1"
"""Falcon's client comes from nowhere, which is not this machine."""
HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


class Door:
    """One application and its client. `settings`: see `parts_of`."""

    def __init__(self, inference: FakeInference | None = None, **settings: Any) -> None:
        self.inference = inference or FakeInference()
        self.client = falcon.testing.TestClient(create_app(parts_of(self.inference, **settings)))

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> falcon.testing.Result:
        return self.post_bytes(path, json.dumps(body).encode(), headers)

    def post_bytes(
        self, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> falcon.testing.Result:
        told = {"Content-Type": "application/json", **(headers or {})}
        return self.client.simulate_post(path, body=body, headers=told, host="localhost", remote_addr=HERE)

    def get(self, path: str, headers: dict[str, str] | None = None) -> falcon.testing.Result:
        return self.client.simulate_get(path, headers=headers or {}, host="localhost")

    def chat(self, headers: dict[str, str] | None = None, **fields: Any) -> falcon.testing.Result:
        return self.post("/v1/chat/completions", {**HELLO, **fields}, headers)

    def complete(self, **fields: Any) -> falcon.testing.Result:
        return self.post("/v1/completions", {"model": MODEL, "prompt": "once", **fields})


def events_of(result: falcon.testing.Result) -> list[Any]:
    """The JSON of each event of a stream; comments are left out, and [DONE] is the string."""
    data = [line[6:] for line in result.text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def comments_of(result: falcon.testing.Result) -> list[str]:
    return [line for line in result.text.split("\n\n") if line.startswith(":")]


def refusal(result: falcon.testing.Result) -> tuple[int, str | None, str]:
    """Status, param and code of an error answer, whose object must be whole."""
    error = result.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert result.headers["x-request-id"]
    return result.status_code, error["param"], error["code"]
