"""Short ways to ask /v1/responses."""

from __future__ import annotations

import json
from typing import Any

import falcon.testing

from appliance.wire.messages import ChatPrompt, Generate
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import HERE, Door

ROUTE = "/v1/responses"


def respond(door: Door, headers: dict[str, str] | None = None, **fields: Any) -> falcon.testing.Result:
    return door.post(ROUTE, {"model": MODEL, "input": "hi", **fields}, headers)


def ask(
    door: Door, method: str, path: str, headers: dict[str, str] | None = None, *, address: str = HERE
) -> falcon.testing.Result:
    """Without a body, from the address from which `respond` asks."""
    told = {"Content-Type": "application/json", **(headers or {})}
    return door.client.simulate_request(
        method, f"{ROUTE}/{path}", headers=told, host="localhost", remote_addr=address
    )


def sent(**fields: Any) -> Generate:
    """What a body with `fields` asks of the runner."""
    door = Door()
    answer = respond(door, **fields)
    assert answer.status_code == 200, answer.text
    return door.inference.requests[0]


def prompt(**fields: Any) -> ChatPrompt:
    told = sent(**fields).prompt
    assert isinstance(told, ChatPrompt)
    return told


def typed_events_of(text: str) -> list[dict[str, Any]]:
    """Each event's data; its name is checked against its type."""
    events = []
    for block in text.split("\n\n"):
        if not block or block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events
