"""The shapes of OpenAI's answers, for the OpenAPI document; tests hold what the handlers write against
them.
"""

from __future__ import annotations

from typing import Any, Literal

from appliance.api.answers import Answer, ErrorFields
from appliance.api.dialect.logprobs import AlternativeLogprob


class PromptTokensDetails(Answer):
    cached_tokens: int
    """Reused, not computed."""


class CompletionTokensDetails(Answer):
    reasoning_tokens: int


class UsageFields(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Timings(Answer):
    """llama-server's."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | None = None
    draft_n_accepted: int | None = None


FinishReason = Literal["stop", "length", "tool_calls"]


class FunctionAnswer(Answer):
    name: str
    arguments: str
    """JSON, as text."""


class ToolCallAnswer(Answer):
    id: str
    type: Literal["function"]
    function: FunctionAnswer


class TokenLogprobAnswer(AlternativeLogprob):
    top_logprobs: list[AlternativeLogprob]


class ChatLogprobs(Answer):
    content: list[TokenLogprobAnswer]
    refusal: None


class ChatMessageAnswer(Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallAnswer] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The same, under the name that other servers use."""


class ChatChoice(Answer):
    index: int
    message: ChatMessageAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatAnswer(Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageFields
    timings: Timings


class FunctionDelta(Answer):
    name: str | None = None
    arguments: str


class ToolCallChunk(Answer):
    index: int
    id: str | None = None
    """With the first piece of a call."""
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatDelta(Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class ChatChunkChoice(Answer):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(Answer):
    """One event; the last is the text `[DONE]`. A fault in mid-stream is an event with `error` alone."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: UsageFields | None = None
    """In a chunk without choices, for `include_usage`."""
    timings: Timings | None = None
    error: ErrorFields | None = None


class CompletionLogprobsAnswer(Answer):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Answer):
    index: int
    text: str
    logprobs: CompletionLogprobsAnswer | None
    finish_reason: FinishReason | None
    """null in the chunks of a stream but the last."""


class CompletionAnswer(Answer):
    """Also each event of a stream, then with `usage` and `timings` only at its end."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageFields | None = None
    timings: Timings | None = None
    error: ErrorFields | None = None


class InputUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class EmbeddingItem(Answer):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """base64 of little-endian float32, where that was asked for."""


class EmbeddingAnswer(Answer):
    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: InputUsage


class RankedDocument(Answer):
    text: str


class RankedItem(Answer):
    index: int
    """Among the documents of the request."""
    relevance_score: float
    document: RankedDocument | None = None


class RerankAnswer(Answer):
    model: str
    object: Literal["list"]
    results: list[RankedItem]
    """The best first."""
    usage: InputUsage


class ScoredItem(Answer):
    """TEI's."""

    index: int
    score: float
    text: str | None = None


class ModelObject(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["outpost"]
    max_model_len: int | None
    """Tokens per request; null: it was never loaded."""
    state: str
    """stopped | starting | ready | draining | stopping | failed"""
    reason: str | None
    """Why it is failed, quarantined or broken."""
    meta: dict[str, Any]
    """`size` in bytes, and once it was loaded what llama-server tells of a model."""


class DeletedModel(Answer):
    id: str
    object: Literal["model"]
    deleted: Literal[True]


class ModelsAnswer(Answer):
    object: Literal["list"]
    data: list[ModelObject]


class TokenPiece(Answer):
    id: int
    piece: str | list[int]
    """Its bytes, where it is only part of a character."""


class TokenizeAnswer(Answer):
    tokens: list[int] | list[TokenPiece]


class DetokenizeAnswer(Answer):
    content: str


class InfillEvent(Answer):
    """One piece of the text. A fault in mid-stream is an event with `error` alone."""

    index: int
    content: str
    stop: bool
    tokens_predicted: int
    error: ErrorFields | None = None


class InfillAnswer(Answer):
    index: int
    content: str
    stop: Literal[True]
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    has_new_line: bool
    truncated: Literal[False]
    stop_type: Literal["none", "eos", "limit", "word"]
    stopping_word: str
    timings: Timings
