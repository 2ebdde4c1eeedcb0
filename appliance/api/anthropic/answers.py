"""The shapes of Anthropic's answers, for the OpenAPI document; tests hold what the handlers write against
them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from appliance.api.answers import Answer


class ErrorDetail(Answer):
    type: str
    """Anthropic's class of the error."""
    message: str
    """What happened, with numbers, and what to do."""


class ErrorAnswer(Answer):
    """Every error of `/v1/messages` and below."""

    type: Literal["error"]
    error: ErrorDetail
    request_id: str


class TextContent(Answer):
    type: Literal["text"]
    text: str


class ThinkingContent(Answer):
    type: Literal["thinking"]
    thinking: str
    signature: str
    """Empty."""


class ToolUseContent(Answer):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class OutputTokensDetails(Answer):
    thinking_tokens: int


class UsageAnswer(Answer):
    input_tokens: int
    """Without those that came from the cache."""
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    """Reused, not computed."""
    output_tokens: int
    output_tokens_details: OutputTokensDetails


class MessageAnswer(Answer):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextContent | ThinkingContent | ToolUseContent]
    stop_reason: str | None
    stop_sequence: str | None
    usage: UsageAnswer


class MessageEvent(Answer):
    """One event of a stream, with what is its type's own beside it."""

    model_config = ConfigDict(extra="allow")

    type: str


class TokensAnswer(Answer):
    input_tokens: int
