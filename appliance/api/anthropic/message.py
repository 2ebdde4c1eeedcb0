"""Anthropic's message object: what its answers are called, and a whole one from what was collected."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec

from appliance.api.anthropic.outcome import stop_of, usage_object
from appliance.api.anthropic.schema import MessagesBody
from appliance.api.dialect.collect import Choice
from appliance.wire.messages import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is known of an answer before it begins."""

    model: str
    max_tokens: int
    stop_sequences: tuple[str, ...]
    shows_thoughts: bool = True
    id_: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")

    def message(
        self, *, content: list[dict[str, Any]], stop: tuple[str | None, str | None], usage: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": self.id_,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop[0],
            "stop_sequence": stop[1],
            "usage": usage,
        }

    def stop_of(self, reason: str | None, stop: str | None, usage: Usage) -> tuple[str, str | None]:
        return stop_of(reason, stop, usage, stop_sequences=self.stop_sequences, max_tokens=self.max_tokens)

    def thoughts(self, text: str) -> str:
        """As far as they are wanted: `display` "omitted" leaves an empty block."""
        return text if self.shows_thoughts else ""


def envelope_of(body: MessagesBody) -> Envelope:
    return Envelope(
        model=body.model,
        max_tokens=body.max_tokens,
        stop_sequences=tuple(body.stop_sequences or ()),
        shows_thoughts=body.thinking is None or body.thinking.display != "omitted",
    )


def whole(envelope: Envelope, choice: Choice, usage: Usage) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if reasoning := "".join(choice.reasoning):
        content.append({"type": "thinking", "thinking": envelope.thoughts(reasoning), "signature": ""})
    if text := "".join(choice.text):
        content.append({"type": "text", "text": text})
    content += [_tool_use(choice.tool_calls[index]) for index in sorted(choice.tool_calls)]
    stop = envelope.stop_of(choice.finish_reason, choice.stop, usage)
    return envelope.message(content=content, stop=stop, usage=usage_object(usage))


def _tool_use(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "type": "tool_use",
        "id": call["id"] or "",
        "name": function["name"] or "",
        "input": _input(function["arguments"]) or {},
    }


def _input(arguments: str) -> dict[str, Any] | None:
    """None: it broke off, or it is no object."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def broken_calls(choice: Choice) -> list[str]:
    """The names of the tools whose input is not whole: `max_tokens` cut it."""
    functions = [choice.tool_calls[index]["function"] for index in sorted(choice.tool_calls)]
    return [function["name"] or "" for function in functions if _input(function["arguments"]) is None]
