"""The bodies of `/v1/messages` and `/v1/messages/count_tokens`. Strict: see `fields.Body`.

Blocks and tools of kinds that are not served become `OtherBlock` and `OtherTool`, so that they are refused by
their name (`content.py`, `tools.py`). Sampling takes llama.cpp's parameters beside Anthropic's.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag, field_validator

from appliance.api.dialect.fields import (
    MAX_MESSAGES,
    MAX_STOP_BYTES,
    MAX_STOPS,
    MAX_TOKENS,
    MAX_TOOLS,
    Body,
    ModelBody,
    ModelName,
    SamplingFields,
    Text,
)

MAX_BLOCKS: Final = 4096
"""Of one message, of a system prompt or of a tool's result."""
_BRANCH: Final = "block:"
"""In front of a kind, so that no field of a block is called as a branch of the union (`validation.py`)."""

CacheControl = dict[str, Any]
"""Prefixes are always reused: whatever it asks for is done, and nothing else is."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TextBlock(Body):
    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None
    citations: Annotated[list[Any], Field(max_length=0)] | None = None
    """Empty in our answers, and clients send answers back."""


class ThinkingBlock(Body):
    type: Literal["thinking"]
    thinking: Text
    signature: Text | None = None
    """Of an answer of ours it is empty; of another server's it says nothing here."""


class RedactedThinkingBlock(Body):
    type: Literal["redacted_thinking"]
    data: Text


class DirectCaller(Body):
    type: Literal["direct"]


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: Id
    name: ToolName
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: DirectCaller | None = None
    toolset_name: None = None


class OtherBlock(Body):
    """Of a kind that is not served."""

    model_config = ConfigDict(extra="allow")

    type: str


def _branch(value: object, known: frozenset[str]) -> str:
    """Which branch of a union a block takes, so that faults are told of that one only."""
    kind = _kind(value)
    return f"{_BRANCH}{kind}" if kind in known else f"{_BRANCH}other"


def _kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


_TEXTS: Final = frozenset({"text"})
_BLOCKS: Final = _TEXTS | {"thinking", "redacted_thinking", "tool_use", "tool_result"}

TextOnly = Annotated[
    Annotated[TextBlock, Tag("block:text")] | Annotated[OtherBlock, Tag("block:other")],
    Discriminator(lambda value: _branch(value, _TEXTS)),
]
TextBlocks = Annotated[list[TextOnly], Field(max_length=MAX_BLOCKS)]


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: Id
    content: Text | TextBlocks | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: None = None


Block = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock | OtherBlock
AnyBlock = Annotated[
    Annotated[TextBlock, Tag("block:text")]
    | Annotated[ThinkingBlock, Tag("block:thinking")]
    | Annotated[RedactedThinkingBlock, Tag("block:redacted_thinking")]
    | Annotated[ToolUseBlock, Tag("block:tool_use")]
    | Annotated[ToolResultBlock, Tag("block:tool_result")]
    | Annotated[OtherBlock, Tag("block:other")],
    Discriminator(lambda value: _branch(value, _BLOCKS)),
]


class Message(Body):
    role: Literal["user", "assistant", "system"]
    content: Text | Annotated[list[AnyBlock], Field(max_length=MAX_BLOCKS)]


class Tool(Body):
    type: Literal["custom"] | None = None
    name: ToolName
    description: Text | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: CacheControl | None = None
    eager_input_streaming: bool | None = None
    """It is what every stream does."""
    defer_loading: Literal[False] | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    input_examples: list[dict[str, Any]] | None = None


class OtherTool(Body):
    """One that a server runs, or of a kind that is not served."""

    model_config = ConfigDict(extra="allow")

    type: str


def _tool_branch(value: object) -> str:
    return f"{_BRANCH}custom" if _kind(value) in {None, "custom"} else f"{_BRANCH}other"


AnyTool = Annotated[
    Annotated[Tool, Tag("block:custom")] | Annotated[OtherTool, Tag("block:other")],
    Discriminator(_tool_branch),
]


class ToolChoiceField(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Body):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class JsonFormat(Body):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(Body):
    user_id: Annotated[str, StringConstraints(max_length=512)] | None = None


class PromptBody(ModelBody):
    """What makes the prompt, and so counts its tokens."""

    model: ModelName
    """Its name in the store or the configuration."""
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation, oldest first; a last message of the assistant is continued."""
    system: Text | TextBlocks | None = None
    """A text, or blocks of text. Default: what the model was stored with."""
    tools: Annotated[list[AnyTool], Field(max_length=MAX_TOOLS)] | None = None
    """Those that the client runs. Default: none."""
    tool_choice: ToolChoiceField | None = None
    """Whether the model must call, and which of them. Default: `auto`."""
    thinking: Thinking | None = None
    """Whether the model thinks before it answers. Default: it is told not to."""
    output_config: OutputConfig | None = None
    """`format`: a schema that the answer keeps to; `effort`: told to templates that know it."""
    cache_control: CacheControl | None = None
    """Taken and not needed: every prefix is reused."""


class CountTokensBody(PromptBody):
    pass


class MessagesBody(PromptBody, SamplingFields):
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    """Tokens of thoughts and answer together, at most."""
    stream: bool | None = None
    """The answer as events while it is made. Default: false."""
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    """Texts that end the answer, each of 1 to 1024 bytes. Default: the model's."""
    metadata: Metadata | None = None
    """Ignored with a warning."""
    service_tier: Literal["auto", "standard_only"] | None = None
    """There is one tier only."""

    @field_validator("stop_sequences")
    @classmethod
    def _stops(cls, value: list[str] | None) -> list[str] | None:
        if any(not 0 < len(stop.encode()) <= MAX_STOP_BYTES for stop in value or ()):
            raise ValueError(f"each stop sequence has 1 to {MAX_STOP_BYTES} bytes")
        return value
