"""Short ways to ask the Ollama routes of a door without a socket."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing

from appliance.wire.messages import ChatPrompt
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import Door

NDJSON = "application/x-ndjson"
USER = {"role": "user", "content": "hi"}


def chat(door: Door, **fields: Any) -> falcon.testing.Result:
    return door.post("/api/chat", {"model": MODEL, "messages": [USER], "stream": False, **fields})


def generate(door: Door, **fields: Any) -> falcon.testing.Result:
    return door.post("/api/generate", {"model": MODEL, "prompt": "hi", "stream": False, **fields})


def prompt(door: Door) -> ChatPrompt:
    """Of the last request."""
    asked = door.inference.requests[-1].prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def lines_of(result: falcon.testing.Result) -> list[dict[str, Any]]:
    assert result.headers["content-type"] == NDJSON
    return [json.loads(line) for line in result.text.splitlines()]


def refusal(result: falcon.testing.Result) -> tuple[int, str]:
    """Status and text of an error, which must have Ollama's form."""
    assert set(result.json) == {"error"}
    assert isinstance(result.json["error"], str)
    return result.status_code, result.json["error"]


def warning(result: falcon.testing.Result) -> str:
    return result.headers.get("x-outpost-warning", "")
