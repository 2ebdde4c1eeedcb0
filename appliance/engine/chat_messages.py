"""Messages as templates expect them: OpenAI's objects in, Hugging Face's conventions out. Pure; part of flow
1 (chat).

Templates want `content` to be a string, call arguments to be a mapping, and know no `developer` role. Where a
template does not know tools, calls and results become plain text in Hermes' form, and a system message
describes the tools.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from appliance.engine.template_format import ToolFormat
from appliance.errors import InvalidRequest

Message = dict[str, Any]

_TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
_MISTRAL_ID_LENGTH = 9


def normalise(
    messages: Sequence[Message], *, tool_format: ToolFormat, keep_developer: bool = False
) -> list[Message]:
    """A copy in the form the family's template reads. Raises InvalidRequest on what none could show."""
    plain = [_plain(index, message, keep_developer=keep_developer) for index, message in enumerate(messages)]
    if tool_format is ToolFormat.JSON:
        return [_without_tools(message) for message in plain]
    if tool_format in {ToolFormat.MISTRAL, ToolFormat.MISTRAL_ARGS}:
        return [_with_short_ids(message) for message in plain]
    return plain


def describe_tools(messages: Sequence[Message], tools: Sequence[Message]) -> list[Message]:
    """Put the tools into the system message, adding one where there is none."""
    described = _TOOLS_HEAD + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools) + _TOOLS_TAIL
    if messages and messages[0].get("role") == "system":
        first = messages[0]
        return [{**first, "content": f"{first['content']}\n\n{described}"}, *messages[1:]]
    return [{"role": "system", "content": described}, *messages]


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """For templates that refuse the system role: its text opens the next user turn."""
    folded: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.get("role") == "system":
            waiting.append(str(message["content"]))
        elif message.get("role") == "user" and waiting:
            folded.append({**message, "content": "\n\n".join([*waiting, str(message["content"])])})
            waiting = []
        else:
            folded.append(message)
    return [*folded, {"role": "user", "content": "\n\n".join(waiting)}] if waiting else folded


def with_text_arguments(messages: Sequence[Message]) -> list[Message]:
    """Some templates concatenate `arguments` to a string instead of serialising it."""
    return [
        {**message, "tool_calls": [_text_arguments(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _plain(index: int, message: Message, *, keep_developer: bool) -> Message:
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise InvalidRequest(reason="this model reads text only", param=f"messages[{index}].content")
    plain = {**message, "content": content or ""}
    if plain.get("role") == "developer" and not keep_developer:
        plain["role"] = "system"
    if plain.get("tool_calls"):
        plain["tool_calls"] = [_parsed_arguments(call) for call in plain["tool_calls"]]
    else:
        # Many templates ask only whether the key is there.
        plain.pop("tool_calls", None)
    return plain


def _parsed_arguments(call: Message) -> Message:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        parsed = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call


def _text_arguments(call: Message) -> Message:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return call
    return {**call, "function": {**function, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def _without_tools(message: Message) -> Message:
    """The form `describe_tools` asks the model for, so that it sees its own calls as it wrote them."""
    if message.get("role") == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if "tool_calls" not in message:
        return message
    calls = [_call_text(call.get("function") or {}) for call in message["tool_calls"]]
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join([*([message["content"]] if message["content"] else []), *calls])}


def _call_text(function: Message) -> str:
    body = {"name": function.get("name"), "arguments": function.get("arguments") or {}}
    return f"<tool_call>\n{json.dumps(body, ensure_ascii=False)}\n</tool_call>"


def _with_short_ids(message: Message) -> Message:
    """Mistral's templates insist on ids of nine letters or digits; ours and other servers' are longer."""
    changed = dict(message)
    if isinstance(message.get("tool_call_id"), str):
        changed["tool_call_id"] = _short_id(message["tool_call_id"])
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            {**call, "id": _short_id(str(call.get("id", "")))} for call in message["tool_calls"]
        ]
    return changed


def _short_id(call_id: str) -> str:
    if len(call_id) == _MISTRAL_ID_LENGTH and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:_MISTRAL_ID_LENGTH]
