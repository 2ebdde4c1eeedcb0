"""What a chat asks for and does not get, though it is no fault: said in `X-Outpost-Warning`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.api.openai.schema import ChatBody, NamedTool

_UNUSED_IN_PARTS = ("annotations", "cache_control")


def warnings_of(body: ChatBody) -> Iterator[str]:
    """Sentences, in the order of the body."""
    yield from _unused_in_parts(body)
    if body.response_format is not None and body.response_format.type != "text" and _must_call(body):
        yield "'response_format' is ignored: 'tool_choice' wants a call"
    if body.grammar is not None and any(tool.function.strict for tool in body.tools or ()):
        yield "'strict' of a function does not hold beside 'grammar'"


def _must_call(body: ChatBody) -> bool:
    choice = body.tool_choice
    if choice is None or isinstance(choice, str):
        return choice == "required"
    return isinstance(choice, NamedTool) or choice.allowed_tools.mode == "required"


def _unused_in_parts(body: ChatBody) -> Iterator[str]:
    parts = [
        part for message in body.messages if isinstance(message.content, list) for part in message.content
    ]
    for name in _UNUSED_IN_PARTS:
        if any(part.get(name) for part in parts):
            yield f"'{name}' of content parts is ignored"
