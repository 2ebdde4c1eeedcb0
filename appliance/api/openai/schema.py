"""The request bodies of the OpenAI routes, and of those llama-server adds. Strict: see `fields.Body`.

Checks that need more than one field, or that answer "not supported" rather than "wrong", are in
`chat_request.py` and its siblings: they turn these models into messages of the wire.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

from pydantic import Discriminator, Field, StringConstraints, Tag

from appliance.api.dialect.fields import (
    MAX_INPUTS,
    MAX_MESSAGES,
    MAX_TOOLS,
    Body,
    GenerationFields,
    MaxTokens,
    ModelBody,
    ModelName,
    Text,
    TokenId,
)

MAX_PROMPTS: Final = 128
MAX_PROMPT_TOKENS: Final = 1 << 20

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPT_TOKENS)]


def _form(value: object) -> str:
    """Which of OpenAI's four forms of a prompt is meant, by its first item: faults are then told of that form
    only.
    """
    if not isinstance(value, list):
        return "text"
    if value and isinstance(value[0], int):
        return "tokens"
    return "token_lists" if value and isinstance(value[0], list) else "texts"


class CalledFunction(Body):
    name: Name
    arguments: Text
    parsed_arguments: Any = None
    """Added by openai-python's helpers; `arguments` is what counts."""


class ToolCallField(Body):
    """A call that an earlier assistant message made."""

    id: Annotated[str, StringConstraints(max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None
    """Left by clients that glue stream deltas together; without meaning here."""


class Message(Body):
    """One message; not every role may have every field.

    `annotations`, `audio`, `function_call`, `parsed` and `refusal` are in the answers, and clients send
    answers back.
    """

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Text | list[dict[str, Any]] | None = None
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    tool_calls: Annotated[list[ToolCallField], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: Annotated[str, StringConstraints(max_length=256)] | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    refusal: Text | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    parsed: Any = None


class FunctionField(Body):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolField(Body):
    type: Literal["function"]
    function: FunctionField


class NamedFunction(Body):
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Body):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolsChoice(Body):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class NamedSchema(Body):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """llama-server's form: a schema beside `json_object`."""


class ChatBody(GenerationFields):
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation, oldest first. Parts are texts only."""
    max_completion_tokens: MaxTokens | None = None
    """As `max_tokens`, and wins over it."""
    logprobs: bool | None = None
    """Tell the log-probability of each token. Default: false."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """With `logprobs`: also those of so many likeliest others. Default: 0."""
    response_format: ResponseFormat | None = None
    """What the answer keeps to. Default: text."""
    tools: Annotated[list[ToolField], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may call, each name once. Default: none."""
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolsChoice | None = None
    """Whether it must call, and which of them. Default: `auto` with `tools`."""
    parallel_tool_calls: bool | None = None
    """False: the answer ends with its first call. Default: true."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """Told to the model's template; `none`: no thinking. Default: as the template has it."""
    reasoning_format: Literal["none", "auto", "deepseek"] | None = None
    """`none`: thoughts stay in the text; else they are apart. Default: apart."""
    chat_template_kwargs: dict[str, Any] | None = None
    """More variables of the template, at most 16 KiB. Default: none."""
    continue_final_message: bool | None = None
    """Go on with the last message, the assistant's. Default: false."""
    add_generation_prompt: bool | None = None
    """Always the opposite of `continue_final_message`. Default: true."""
    modalities: list[Literal["text"]] | None = None
    """Only `text`."""


class CompletionBody(GenerationFields):
    prompt: Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS), Tag("texts")]
        | Annotated[TokenIds, Tag("tokens")]
        | Annotated[
            list[TokenIds], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS), Tag("token_lists")
        ],
        Discriminator(_form),
    ]
    """A text, token ids, or up to 128 of either."""
    max_tokens: MaxTokens | None = None
    """Tokens of the answer at most; -1: as many as fit. Default: the model's, else 16."""
    suffix: Text | None = None
    """What comes after the answer; only of models that fill in, and with texts. Default: nothing."""
    echo: bool | None = None
    """The prompt in front of the answer; not with `logprobs` or `suffix`. Default: false."""
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    """Answers that are made, of which the likeliest `n` are told; not in a stream. Default: `n`."""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """Tell log-probabilities, and those of so many likeliest others. Default: none."""


class EmbeddingBody(ModelBody):
    model: ModelName
    """Its name in the store or the configuration."""
    input: Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag("texts")]
        | Annotated[TokenIds, Tag("tokens")]
        | Annotated[
            list[TokenIds], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag("token_lists")
        ],
        Discriminator(_form),
    ]
    """A text, token ids, or up to 2048 of either; none is empty."""
    encoding_format: Literal["float", "base64"] | None = None
    """`base64`: little-endian float32. Default: `float`."""
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """The first so many, of length 1 again. Default: all of the model's."""
    truncate: bool | None = None
    """Cut what is too long, which is refused otherwise. Default: false."""


class DocumentField(Body):
    text: Text


class RerankBody(ModelBody):
    model: ModelName | None = None
    """May be left out where there is only one."""
    query: Text
    """What the documents are to answer."""
    documents: (
        Annotated[list[Text | DocumentField], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)]
        | None
    ) = None
    """Texts, or objects with a `text`; either these or `texts`."""
    texts: Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)] | None = None
    """TEI's name for `documents`; the answer then has TEI's form."""
    top_n: Annotated[int, Field(ge=1, le=MAX_INPUTS)] | None = None
    """Tell the best so many. Default: all."""
    return_documents: bool | None = None
    """Tell their texts, too. Default: false."""
    return_text: bool | None = None
    """TEI's name for it, beside `texts`. Default: false."""


class TokenizeBody(ModelBody):
    model: ModelName | None = None
    """May be left out where there is only one."""
    content: Text
    """The text."""
    add_special: bool | None = None
    """Also the tokens that begin and end a text. Default: false."""
    parse_special: bool | None = None
    """Control tokens written in the text are those tokens. Default: true."""
    with_pieces: bool | None = None
    """Also the text of each token. Default: false."""


class DetokenizeBody(ModelBody):
    model: ModelName | None = None
    """May be left out where there is only one."""
    tokens: Annotated[list[TokenId], Field(fail_fast=True, max_length=MAX_PROMPT_TOKENS)]
    """Token ids of that model."""


def inputs_of(told: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """OpenAI's four forms of a prompt or input as one list of texts and token lists."""
    if isinstance(told, str):
        return [told]
    if isinstance(told[0], int):
        return [told]
    return list(cast("list[str | list[int]]", told))
