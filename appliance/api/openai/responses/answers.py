"""The shapes of the answers of /v1/responses, for the OpenAPI document; tests hold what is written against
them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from appliance.api.answers import Answer, ErrorFields
from appliance.api.openai.answers import Timings, TokenLogprobAnswer


class OutputText(Answer):
    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[TokenLogprobAnswer]


class ReasoningText(Answer):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(Answer):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class OutputReasoning(Answer):
    id: str
    type: Literal["reasoning"]
    summary: list[dict[str, Any]]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[ReasoningText]


class OutputCall(Answer):
    id: str
    type: Literal["function_call"]
    status: Literal["in_progress", "completed", "incomplete"]
    call_id: str
    name: str
    arguments: str
    """JSON, as text."""


class InputTokensDetails(Answer):
    cached_tokens: int
    """Reused, not computed."""
    cache_write_tokens: int


class OutputTokensDetails(Answer):
    reasoning_tokens: int


class UsageAnswer(Answer):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseObject(Answer):
    """What was asked, and what came of it."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    error: ErrorFields | None
    incomplete_details: dict[str, str] | None
    """`reason`: `max_output_tokens`."""
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage | OutputReasoning | OutputCall]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, str | None]
    service_tier: str | None
    store: bool
    """Whether it can be asked for again."""
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"]
    usage: UsageAnswer | None
    timings: Timings | None = None


class ResponseEvent(Answer):
    """One event of a stream, beside what is its type's own; the last has the whole response."""

    model_config = ConfigDict(extra="allow")

    type: str
    sequence_number: int
    response: ResponseObject | None = None


class InputItemsAnswer(Answer):
    object: Literal["list"]
    data: list[dict[str, Any]]
    """Items as they were sent, each with its id."""
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(Answer):
    id: str
    object: Literal["response"]
    deleted: Literal[True]
