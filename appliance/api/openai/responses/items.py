"""Items of an input: checked, in the form in which they are kept and shown, and as messages of a chat. Pure.

message               a message; an assistant's may be followed by its calls
reasoning             earlier thoughts of the assistant's message that follows
function_call         a call of the assistant's message before it, or of one without text
function_call_output  a message of the role `tool`
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from appliance.api.openai.responses.schema import (
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    Other,
    ReasoningItem,
)
from appliance.errors import InvalidRequest, Unsupported

Kept = dict[str, Any]
"""One item as it is kept and shown."""

_INPUT: Final = frozenset({"input_text", "text"})
_OUTPUT: Final = frozenset({"output_text", "input_text", "text", "refusal"})
_UNUSED_IN_PARTS: Final = frozenset({"annotations", "logprobs", "parsed"})
"""In answers, and clients send answers back."""
_PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def kept_of(told: str | Sequence[Item] | None) -> list[Kept]:
    """Each with an id. Raises InvalidRequest or Unsupported, naming the item."""
    if isinstance(told, str):
        return [_message("user", told)]
    return [_kept(item, path=f"input.{index}") for index, item in enumerate(told or ())]


def check_calls(past: Sequence[Kept], asked: Sequence[Kept]) -> None:
    """Raises InvalidRequest for an output that no call before it asked for."""
    known = {item["call_id"] for item in past if item["type"] == "function_call"}
    for index, item in enumerate(asked):
        if item["type"] == "function_call":
            known.add(item["call_id"])
        elif item["type"] == "function_call_output" and item["call_id"] not in known:
            raise InvalidRequest(reason="no call before it has this id", param=f"input.{index}.call_id")


def messages_of(items: Sequence[Kept], *, instructions: str | None) -> list[dict[str, Any]]:
    """As the body of a chat has them."""
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    for item in items:
        match item["type"]:
            case "message":
                _add_message(messages, item)
            case "reasoning":
                messages.append({"role": "assistant", "content": "", "reasoning_content": _thoughts(item)})
            case "function_call":
                _add_call(messages, item)
            case _:
                messages.append(
                    {"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])}
                )
    return messages


# ── from the body ──────────────────────────────────────────────────────────────────────────────────────────


def _message(role: str, text: str) -> Kept:
    kind = "output_text" if role == "assistant" else "input_text"
    part = {"type": kind, "text": text, **({"annotations": []} if role == "assistant" else {})}
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": role,
        "status": "completed",
        "content": [part],
    }


def _kept(item: Item, *, path: str) -> Kept:
    if isinstance(item, Other):
        raise Unsupported(
            feature=f"an item of type '{item.type[:64]}'",
            reason="there are messages, functions, their outputs and thoughts",
            param=f"{path}.type",
        )
    id_ = item.id or new_id(_PREFIXES[item.type])
    told = _content_of(item, path=path)
    return {"id": id_, "type": item.type, "status": item.status or "completed", **told}


def _content_of(
    item: MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem, *, path: str
) -> Kept:
    match item:
        case MessageItem():
            return _kept_message(item, path=path)
        case FunctionCallItem():
            return {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        case FunctionCallOutputItem():
            if not isinstance(item.output, str):
                _check_parts(item.output, _INPUT, path=f"{path}.output")
            return {"call_id": item.call_id, "output": item.output}
        case ReasoningItem():
            _check_parts(item.summary or [], frozenset({"summary_text"}), path=f"{path}.summary")
            _check_parts(item.content or [], frozenset({"reasoning_text", "text"}), path=f"{path}.content")
            return {"summary": item.summary or [], "content": item.content or []}


def _kept_message(item: MessageItem, *, path: str) -> Kept:
    if isinstance(item.content, str):
        return {"role": item.role, "content": _message(item.role, item.content)["content"]}
    _check_parts(item.content, _OUTPUT if item.role == "assistant" else _INPUT, path=f"{path}.content")
    return {"role": item.role, "content": item.content}


def _check_parts(parts: Sequence[Mapping[str, Any]], known: frozenset[str], *, path: str) -> None:
    for index, part in enumerate(parts):
        _check_part(part, known, path=f"{path}.{index}")


def _check_part(part: Mapping[str, Any], known: frozenset[str], *, path: str) -> None:
    kind = part.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest(reason="a string is expected", param=f"{path}.type")
    if kind not in known:
        raise Unsupported(
            feature=f"content of type '{kind[:64]}'",
            reason=f"it is {' or '.join(sorted(known))} here",
            param=f"{path}.type",
        )
    name = "refusal" if kind == "refusal" else "text"
    if not isinstance(part.get(name), str):
        raise InvalidRequest(reason="a string is expected", param=f"{path}.{name}")
    for unknown in part.keys() - {"type", name} - _UNUSED_IN_PARTS:
        raise Unsupported(
            feature="this field of a content part",
            reason="it is unknown here",
            param=f"{path}.{unknown[:64]}",
        )


# ── to messages ────────────────────────────────────────────────────────────────────────────────────────────


def _add_message(messages: list[dict[str, Any]], item: Kept) -> None:
    text = _text(item["content"])
    if item["role"] == "assistant" and _is_only_thought(messages):
        messages[-1]["content"] = text
    else:
        messages.append({"role": item["role"], "content": text})


def _add_call(messages: list[dict[str, Any]], item: Kept) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    last = messages[-1]
    last["content"] = last["content"] or None
    last.setdefault("tool_calls", []).append(
        {
            "id": item["call_id"],
            "type": "function",
            "function": {"name": item["name"], "arguments": item["arguments"]},
        }
    )


def _is_only_thought(messages: list[dict[str, Any]]) -> bool:
    """The last message is thoughts that wait for their answer."""
    if not messages or "reasoning_content" not in messages[-1]:
        return False
    return not messages[-1]["content"] and "tool_calls" not in messages[-1]


def _thoughts(item: Kept) -> str:
    return _text(item.get("content") or item.get("summary") or [])


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in content)
