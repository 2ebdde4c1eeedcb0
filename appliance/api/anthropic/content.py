"""Anthropic's messages as those of the wire (OpenAI's): blocks become texts, calls and results. Pure.

system                         a system message in front
user: text, tool_result        "user" and "tool" messages, in the order of the blocks
assistant: thinking, text,     one message with `reasoning_content`, `content` and `tool_calls`
           tool_use
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from appliance.api.anthropic.schema import (
    Block,
    Message,
    OtherBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from appliance.api.visible import shown
from appliance.errors import InvalidRequest, Unsupported

JOINT: Final = "\n"
"""Between the texts of blocks, and of messages of one role in a row, which are one turn."""
_USER: Final = (TextBlock, ToolResultBlock)
_ROLES: Final = {ThinkingBlock: "assistant", ToolUseBlock: "assistant", ToolResultBlock: "user"}


def conversation(
    system: str | Sequence[TextBlock | OtherBlock] | None, messages: Sequence[Message]
) -> list[dict[str, Any]]:
    """Raises InvalidRequest or Unsupported for what no model here can read."""
    told: list[dict[str, Any]] = []
    if system is not None and (text := _text(system, path="system")):
        told.append({"role": "system", "content": text})
    called: set[str] = set()
    for index, message in enumerate(messages):
        for one in _messages(message, called, path=f"messages.{index}"):
            _append(told, one)
    return told


def ends_with_call(messages: Sequence[Message]) -> bool:
    """Whether the last message is the assistant's and calls a tool: then somebody owes the result."""
    last = messages[-1]
    return (
        last.role == "assistant"
        and not isinstance(last.content, str)
        and any(isinstance(block, ToolUseBlock) for block in last.content)
    )


def _append(told: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Templates want roles in turn: who speaks again goes on with his turn."""
    last = told[-1] if told else None
    if last is None or last["role"] != message["role"] or message["role"] not in {"user", "assistant"}:
        told.append(message)
        return
    for name in ("content", "reasoning_content"):
        texts = [text for text in (last.get(name), message.get(name)) if text]
        if texts:
            last[name] = JOINT.join(texts)
    if calls := [*last.get("tool_calls", ()), *message.get("tool_calls", ())]:
        last["tool_calls"] = calls


def _messages(message: Message, called: set[str], *, path: str) -> Iterator[dict[str, Any]]:
    content = message.content
    if isinstance(content, str):
        yield {"role": message.role, "content": content}
        return
    if not content and message.role != "assistant":
        raise InvalidRequest(reason="at least one block is expected", param=f"{path}.content")
    for at, block in enumerate(content):
        _check_role(block, message.role, path=f"{path}.content.{at}")
    if message.role == "assistant":
        yield _assistant(content, called)
    elif message.role == "user":
        yield from _user(content, called, path=f"{path}.content")
    else:
        yield {"role": "system", "content": _joined(content)}


def _check_role(block: Block, role: str, *, path: str) -> None:
    if isinstance(block, OtherBlock):
        raise _unread(block, path=path)
    needed = _ROLES.get(type(block), role)
    if needed != role:
        raise InvalidRequest(reason=f"'{block.type}' is only for the role '{needed}'", param=f"{path}.type")


def _assistant(blocks: Sequence[Block], called: set[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"role": "assistant", "content": _joined(blocks)}
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock) and block.thinking]
    if thoughts:
        told["reasoning_content"] = JOINT.join(thoughts)
    if calls := [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]:
        told["tool_calls"] = calls
        called.update(call["id"] for call in calls)
    return told


def _user(blocks: Sequence[Block], called: set[str], *, path: str) -> Iterator[dict[str, Any]]:
    texts: list[str] = []
    for at, block in enumerate(blocks):
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ToolResultBlock):
            if texts:
                yield {"role": "user", "content": JOINT.join(texts)}
                texts = []
            if block.tool_use_id not in called:
                raise InvalidRequest(
                    reason="no 'tool_use' before it has this id", param=f"{path}.{at}.tool_use_id"
                )
            content = "" if block.content is None else _text(block.content, path=f"{path}.{at}.content")
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}
    if texts:
        yield {"role": "user", "content": JOINT.join(texts)}


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _joined(blocks: Sequence[Block]) -> str:
    return JOINT.join(block.text for block in blocks if isinstance(block, TextBlock))


def _text(told: str | Sequence[TextBlock | OtherBlock], *, path: str) -> str:
    if isinstance(told, str):
        return told
    for at, block in enumerate(told):
        if isinstance(block, OtherBlock):
            raise _unread(block, path=f"{path}.{at}")
    return _joined(told)


def _unread(block: OtherBlock, *, path: str) -> Unsupported:
    return Unsupported(
        feature=f"content of type '{shown(block.type)}'",
        reason="the models here read text only",
        param=f"{path}.type",
    )
