"""The parser of one answer: reasoning first, then tool calls in what remains, each where it can occur."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Protocol

from appliance.engine.chat_output.reasoning import ReasoningSplitter
from appliance.engine.chat_output.tool_calls import Parsed, ToolCallParser
from appliance.engine.template_format import ReasoningTags, ToolFormat

_NOTHING: Final = Parsed()


class ChatOutputParser(Protocol):
    """Fed with text cut anywhere; the cuts do not change what comes out. Holds back only what may begin a
    marker.
    """

    def feed(self, text: str) -> Parsed: ...

    def finish(self) -> Parsed:
        """What was held back. Call it once, last."""

    @property
    def saw_tool_call(self) -> bool:
        """Then the finish reason "stop" becomes "tool_calls"."""

    @property
    def has_ended(self) -> bool:
        """All calls that were allowed are complete: the answer is over, whatever the model goes on to say."""


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def make_parser(
    tool_format: ToolFormat,
    reasoning: ReasoningTags | None,
    *,
    tools_active: bool,
    tool_names: frozenset[str] = frozenset(),
    reasoning_open: bool = False,
    most_calls: int | None = None,
    call_id: Callable[[], str] = new_call_id,
) -> ChatOutputParser:
    """`reasoning` None: reasoning stays in the text. `tools_active`: tools were offered and not switched off
    by `tool_choice`. `most_calls`: the answer ends with so many.
    """
    tools: ChatOutputParser = PassThrough()
    if tools_active:
        tools = ToolCallParser(tool_format, tool_names, call_id, most_calls=most_calls)
    if reasoning is None:
        return tools
    return _Reasoning(ReasoningSplitter(reasoning, opened=reasoning_open), tools)


class PassThrough:
    """Nothing to find."""

    saw_tool_call = False
    has_ended = False

    def feed(self, text: str) -> Parsed:
        return Parsed(text)

    def finish(self) -> Parsed:
        return _NOTHING


class _Reasoning:
    """A reasoning block in front of whatever `content` reads. Owned by the engine's thread."""

    def __init__(self, splitter: ReasoningSplitter, content: ChatOutputParser) -> None:
        self._splitter = splitter
        self._content = content

    @property
    def saw_tool_call(self) -> bool:
        return self._content.saw_tool_call

    @property
    def has_ended(self) -> bool:
        return self._content.has_ended

    def feed(self, text: str) -> Parsed:
        reasoning, content = self._splitter.feed(text)
        parsed = self._content.feed(content) if content else _NOTHING
        return parsed._replace(reasoning=reasoning) if reasoning else parsed

    def finish(self) -> Parsed:
        reasoning, content = self._splitter.finish()
        fed = self._content.feed(content) if content else _NOTHING
        last = self._content.finish()
        return Parsed(fed.text + last.text, reasoning, fed.tool_calls + last.tool_calls)
