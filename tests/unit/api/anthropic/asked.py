"""Messages to a door without a socket, and what they ask of the runner."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing

from appliance.wire.messages import ChatPrompt, Generate
from tests.fakes.fake_inference import MODEL, FakeInference, Line
from tests.unit.api.door import Door

VERSION = {"anthropic-version": "2023-06-01"}
HELLO: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "hi"}],
}


def post(door: Door, headers: dict[str, str] | None = None, **fields: Any) -> falcon.testing.Result:
    """A field that is None is left out."""
    told = {name: value for name, value in {**HELLO, **fields}.items() if value is not None}
    return door.post("/v1/messages", told, {**VERSION, **(headers or {})})


def sent(**fields: Any) -> Generate:
    door = Door()
    answer = post(door, **fields)
    assert answer.status_code == 200, answer.text
    return door.inference.requests[0]


def prompt(**fields: Any) -> ChatPrompt:
    told = sent(**fields).prompt
    assert isinstance(told, ChatPrompt)
    return told


def scripted(*lines: Line) -> Door:
    return Door(FakeInference(script=lambda _: lines))


def warnings(**fields: Any) -> list[str]:
    told = post(Door(), **fields).headers.get("x-outpost-warning", "")
    return told.split("; ") if told else []


def refused(**fields: Any) -> tuple[int, str, str]:
    """Status, type and message of an error answer, whose object must be whole."""
    return refusal(post(Door(), **fields))


def refusal(answer: falcon.testing.Result) -> tuple[int, str, str]:
    told = answer.json
    assert set(told) == {"type", "error", "request_id"}
    assert told["type"] == "error"
    assert set(told["error"]) == {"type", "message"}
    assert told["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    return answer.status_code, told["error"]["type"], told["error"]["message"]


def events_of(answer: falcon.testing.Result) -> list[dict[str, Any]]:
    """Of each event its data, whose type must be the event's name; comments are left out."""
    told = []
    for block in answer.text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.removeprefix("event: ").split("\ndata: ")
            value = json.loads(data)
            assert value["type"] == name
            told.append(value)
        else:
            assert block == "" or block.startswith(":"), block
    return told
