"""What a chat asks for and does not get is named in the warning header."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import ChatPrompt
from tests.unit.api.door import Door

STRICT = {"type": "function", "function": {"name": "clock", "strict": True}}
FORMAT = {"type": "json_object"}
NAMED = {"type": "function", "function": {"name": "clock"}}


def _parts(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "hi", **fields}]}]


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        (
            {"tools": [STRICT], "grammar": 'root ::= "x"'},
            "'strict' of a function does not hold beside 'grammar'",
        ),
        (
            {"tools": [STRICT], "tool_choice": NAMED, "response_format": FORMAT},
            "'response_format' is ignored: 'tool_choice' wants a call",
        ),
        (
            {"tools": [STRICT], "tool_choice": "required", "response_format": FORMAT},
            "'response_format' is ignored: 'tool_choice' wants a call",
        ),
        (
            {"messages": _parts(cache_control={"type": "ephemeral"})},
            "'cache_control' of content parts is ignored",
        ),
        ({"messages": _parts(annotations=[{}])}, "'annotations' of content parts is ignored"),
    ],
)
def test_what_is_not_honoured_is_named(fields: dict[str, Any], warning: str) -> None:
    answer = Door().chat(**fields)
    assert (answer.status_code, answer.headers["x-outpost-warning"]) == (200, warning)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [STRICT], "tool_choice": "required"},
        {"tools": [NAMED]},
        {"tools": [NAMED], "response_format": FORMAT},
        {"response_format": {"type": "text"}, "tools": [NAMED], "tool_choice": "required"},
        {"messages": _parts(annotations=[], cache_control=None)},
    ],
)
def test_what_is_honoured_gives_no_warning(fields: dict[str, Any]) -> None:
    assert "x-outpost-warning" not in Door().chat(**fields).headers


def test_the_runner_is_told_the_response_format_for_its_template() -> None:
    door = Door()
    door.chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}
    )
    (request,) = door.inference.requests
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "null"}},
    }
