"""Messages and tools as Ollama's clients write them → as our wire has them (OpenAI's objects). Pure.

What Ollama leaves open is filled in: a call without an id gets one, and a result finds the call it belongs to
by its id, by the name of its tool, or by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appliance.api.dialect import json_schema_limits
from appliance.api.ollama.bodies import Message, ToolField
from appliance.errors import InvalidRequest, Unsupported


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Raises Unsupported for images, InvalidRequest for a field that its role cannot have."""
    reader = _Reader()
    return [reader.message(message, path=f"messages.{index}") for index, message in enumerate(messages)]


def wire_tools(tools: Sequence[ToolField]) -> list[dict[str, Any]]:
    """Raises InvalidRequest for two of one name, or a schema beyond the bounds."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools.{index}.function"
        if tool.function.name in names:
            raise InvalidRequest(reason="two tools have this name", param=f"{path}.name")
        names.add(tool.function.name)
        if tool.function.parameters is not None:
            json_schema_limits.check(tool.function.parameters, param=f"{path}.parameters")
    return [{**tool.model_dump(exclude_none=True), "type": "function"} for tool in tools]


def refuse_images(images: Sequence[str] | None, *, path: str) -> None:
    if images:
        raise Unsupported(
            feature="'images'",
            reason="no model here reads images: projectors are stored and not loaded yet",
            param=path,
        )


class _Reader:
    """Knows the calls that wait for their results. Lives inside one request."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []
        """(id, name), in order."""

    def message(self, message: Message, *, path: str) -> dict[str, Any]:
        refuse_images(message.images, path=f"{path}.images")
        if message.tool_calls and message.role != "assistant":
            raise InvalidRequest(reason="only for the role 'assistant'", param=f"{path}.tool_calls")
        told: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.role == "developer":
            told["role"] = "system"
        if message.thinking and message.role == "assistant":
            told["reasoning_content"] = message.thinking
        if message.tool_calls:
            told["tool_calls"] = self._calls(message)
            told["content"] = message.content or None
        if message.role == "tool":
            told |= self._result(message)
        return told

    def _calls(self, message: Message) -> list[dict[str, Any]]:
        self._open = []
        calls = []
        for call in message.tool_calls or ():
            self._count += 1
            call_id = call.id or f"call_{self._count}"
            self._open.append((call_id, call.function.name))
            arguments = msgspec.json.encode(call.function.arguments or {}).decode()
            function = {"name": call.function.name, "arguments": arguments}
            calls.append({"id": call_id, "type": "function", "function": function})
        return calls

    def _result(self, message: Message) -> dict[str, Any]:
        name = message.tool_name or message.name
        at = next((at for at, one in enumerate(self._open) if _is_of(one, message.tool_call_id, name)), None)
        if at is None:  # of a call that was left out, or made up: the model is shown it all the same
            self._count += 1
            call_id, own = message.tool_call_id or f"call_{self._count}", name
        else:
            call_id, own = self._open.pop(at)
        named = name or own
        return {"tool_call_id": call_id, **({} if named is None else {"name": named})}


def _is_of(call: tuple[str, str], call_id: str | None, name: str | None) -> bool:
    """An id decides; else a name; else the first open one is meant."""
    if call_id is not None:
        return call[0] == call_id
    return name is None or call[1] == name
