"""The body of POST /v1/responses. Strict: see `fields.Body`.

Items, tools and formats of kinds that are not honoured are let in as `Other`, so that they can be refused by
their name and place (`items.py`, `request.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from appliance.api.dialect.fields import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Body,
    MaxTokens,
    ModelName,
    SamplingFields,
    StreamOptions,
    Text,
)
from appliance.api.openai.schema import Name

ID = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Status = Literal["in_progress", "completed", "incomplete"]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Parts = Annotated[list[dict[str, Any]], Field(max_length=MAX_MESSAGES)]
Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
]
MAX_METADATA: Final = 16


class Other(Body):
    """Of a kind that is not honoured, whatever else it says."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, StringConstraints(max_length=256)]


# ── items of the input ─────────────────────────────────────────────────────────────────────────────────────


class MessageItem(Body):
    """`phase` stands in answers of OpenAI's, and clients send answers back."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | Parts
    id: ID | None = None
    status: Status | None = None
    phase: str | None = None


class FunctionCallItem(Body):
    """A call that an earlier answer made. What else answers of OpenAI's say of it must say nothing."""

    type: Literal["function_call"]
    call_id: ID
    name: Name
    arguments: Text
    id: ID | None = None
    status: Status | None = None
    async_: Annotated[Literal[False] | None, Field(alias="async")] = None
    caller: None = None
    namespace: None = None
    parsed_arguments: Any = None
    """Added by openai-python's helpers; `arguments` is what counts."""


class FunctionCallOutputItem(Body):
    type: Literal["function_call_output"]
    call_id: ID
    output: Text | Parts
    id: ID | None = None
    status: Status | None = None
    name: Name | None = None
    caller: None = None
    namespace: None = None


class ReasoningItem(Body):
    type: Literal["reasoning"]
    summary: Parts | None = None
    content: Parts | None = None
    encrypted_content: Text | None = None
    id: ID | None = None
    status: Status | None = None


_ITEMS: Final = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def _item_kind(value: object) -> str:
    """A message may leave its type out."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is None:
        return "message"
    return kind if isinstance(kind, str) and kind in _ITEMS else "other"


Item = MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem | Other
_TaggedItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[Other, Tag("other")],
    Discriminator(_item_kind),
]


# ── tools ──────────────────────────────────────────────────────────────────────────────────────────────────


class FunctionTool(Body):
    type: Literal["function"]
    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: Literal[False] | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class NamedFunction(Body):
    type: Literal["function"]
    name: ID


class AllowedTools(Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MAX_TOOLS)]


def _kind_among(*known: str) -> Discriminator:
    def kind_of(value: object) -> str:
        kind = value.get("type") if isinstance(value, dict) else None
        return kind if isinstance(kind, str) and kind in known else "other"

    return Discriminator(kind_of)


_TaggedTool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[Other, Tag("other")], _kind_among("function")
]
_TaggedChoice = Annotated[
    Annotated[NamedFunction, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")]
    | Annotated[Other, Tag("other")],
    _kind_among("function", "allowed_tools"),
]


# ── the rest of the body ───────────────────────────────────────────────────────────────────────────────────


class Format(Body):
    """`response_format` of chat in one level less."""

    type: Literal["text", "json_object", "json_schema"]
    name: FunctionName | None = None
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextField(Body):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningField(Body):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Literal["standard", "pro"] | None = None


class ResponseBody(SamplingFields):
    """Beside OpenAI's, the samplers of llama.cpp, as in chat."""

    refused: ClassVar[Mapping[str, str]] = {
        "access_programs": "there are none here",
        "background_options": "answers are made while the caller waits",
        "context_management": "nothing of a conversation is ever cut here",
        "conversation": "send 'previous_response_id', or the whole conversation as 'input'",
        "image": "this Outpost makes no pictures",
        "prompt": "no prompts are kept here; send 'instructions' and 'input'",
        "max_tokens": "send 'max_output_tokens'",
        "max_completion_tokens": "send 'max_output_tokens'",
        "messages": "send 'input'",
        "response_format": "send 'text': {'format': …}",
        "reasoning_effort": "send 'reasoning': {'effort': …}",
    }
    ignored: ClassVar[Mapping[str, tuple[object, ...]]] = {"max_tool_calls": ()}

    model: ModelName
    """Its name in the store or the configuration."""
    input: Text | Annotated[list[_TaggedItem], Field(max_length=MAX_MESSAGES)] | None = None
    """A text, or items: messages, calls, their outputs, thoughts."""
    instructions: Text | None = None
    """A system message in front; those of earlier responses do not count any more."""
    previous_response_id: Annotated[str, StringConstraints(max_length=256)] | None = None
    """The kept response to go on from. Default: none."""
    store: bool | None = None
    """Keep the response in memory, to be asked for and gone on from. Default: true."""
    metadata: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=64)],
                Annotated[str, StringConstraints(max_length=512)],
            ],
            Field(max_length=MAX_METADATA),
        ]
        | None
    ) = None
    """Given back as it is."""
    stream: bool | None = None
    """The answer as events while it is made. Default: false."""
    stream_options: StreamOptions | None = None
    """Only with `stream`; the last event has the usage anyway."""
    background: bool | None = None
    """Only false: answers are made while the caller waits."""
    max_output_tokens: MaxTokens | None = None
    """Tokens of the answer at most; -1: as many as fit. Default: the model's, else as many as fit."""
    tools: Annotated[list[_TaggedTool], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may call, each name once. Default: none."""
    tool_choice: Literal["none", "auto", "required"] | _TaggedChoice | None = None
    """Whether it must call, and which of them. Default: `auto` with `tools`."""
    parallel_tool_calls: bool | None = None
    """False: the answer ends with its first call. Default: true."""
    text: TextField | None = None
    """What the answer keeps to. Default: text."""
    reasoning: ReasoningField | None = None
    """How much to think: `effort`, told to the model's template."""
    include: Annotated[list[Include], Field(max_length=16)] | None = None
    """`message.output_text.logprobs`; the others are ignored with a warning. Default: none."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Log-probabilities of so many likeliest others for each token. Default: 0."""
    truncation: Literal["auto", "disabled"] | None = None
    """What is too long is refused; `auto` is ignored with a warning."""
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """`flex`: in the background; the others are one. Default: realtime."""
