"""What a chat becomes on its way to the runner."""

from __future__ import annotations

from typing import Any

from appliance.wire.messages import ChatPrompt, Generate
from tests.unit.api.door import Door


def sent(**fields: Any) -> Generate:
    """What a chat with `fields` asks of the runner."""
    door = Door()
    answer = door.chat(**fields)
    assert answer.status_code == 200, answer.text
    return door.inference.requests[0]


def prompt(**fields: Any) -> ChatPrompt:
    told = sent(**fields).prompt
    assert isinstance(told, ChatPrompt)
    return told
