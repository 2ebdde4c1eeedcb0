"""The shapes of Ollama's answers, for the OpenAPI document; tests hold what the handlers write against
them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from appliance.api.answers import Answer
from appliance.api.dialect.logprobs import AlternativeLogprob


class ErrorAnswer(Answer):
    """Every error below `/api`."""

    error: str
    """What happened, with numbers, and what to do."""


class VersionAnswer(Answer):
    version: str
    """Of the Ollama whose API this is."""


class CloudStatus(Answer):
    disabled: bool
    source: str


class StatusAnswer(Answer):
    cloud: CloudStatus


class CalledFunctionAnswer(Answer):
    index: int
    name: str
    arguments: dict[str, Any]


class ToolCall(Answer):
    id: str | None = None
    function: CalledFunctionAnswer


class ChatMessage(Answer):
    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None


class TokenLogprob(AlternativeLogprob):
    top_logprobs: list[AlternativeLogprob] | None = None


class DebugInfo(Answer):
    rendered_template: str
    image_count: int


class GenerationAnswer(Answer):
    """What answers of chat and generate share. Counts and times (nanoseconds) stand in the last line, and are
    left out where they are zero.
    """

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    logprobs: list[TokenLogprob] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    debug_info: DebugInfo | None = Field(default=None, alias="_debug_info")


class ChatAnswer(GenerationAnswer):
    message: ChatMessage | None = None


class ChatLine(ChatAnswer):
    """A token, or the end; a fault in mid-stream is a line with `error` alone."""

    error: str | None = None


class GenerateAnswer(GenerationAnswer):
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None
    context: list[int] | None = None
    """To be sent with the next question; opaque."""


class GenerateLine(GenerateAnswer):
    """A token, or the end; a fault in mid-stream is a line with `error` alone."""

    error: str | None = None


class EmbedAnswer(Answer):
    model: str
    embeddings: list[list[float]]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


class EmbeddingsAnswer(Answer):
    embedding: list[float]


class ModelDetails(Answer):
    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str


class ListedModel(Answer):
    name: str
    model: str
    modified_at: str
    size: int
    """Bytes."""
    digest: str
    """Empty for a model of the configuration."""
    details: ModelDetails


class TagsAnswer(Answer):
    models: list[ListedModel]


class RunningModel(Answer):
    name: str
    model: str
    size: int
    """Bytes."""
    digest: str
    details: ModelDetails
    expires_at: str
    size_vram: int
    """By the share of the layers that are on the GPU."""
    context_length: int


class RunningAnswer(Answer):
    models: list[RunningModel]


class ShowAnswer(Answer):
    """What there is nothing to say of is left out."""

    license: str | None = None
    modelfile: str
    parameters: str | None = None
    template: str
    system: str | None = None
    details: ModelDetails
    messages: list[dict[str, Any]] | None = None
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    projector_info: dict[str, Any] | None = None
    tensors: list[dict[str, Any]] | None = None


class Done(Answer):
    status: Literal["success"]


class ProgressLine(Answer):
    """The last has the status `success`, or is an error."""

    status: str | None = None
    digest: str | None = None
    total: int | None = None
    """Bytes."""
    completed: int | None = None
    error: str | None = None
