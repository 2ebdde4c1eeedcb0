"""The request bodies of the Ollama routes, as its clients write them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from appliance.api.dialect.fields import MAX_INPUTS, MAX_MESSAGES, MAX_TOOLS, Text
from appliance.api.ollama.conversation_context import MAX_INTS
from appliance.api.ollama.fields import (
    MAX_FILES,
    AskBody,
    Digest,
    Format,
    Images,
    Name,
    NamedBody,
    OllamaBody,
    Think,
    TopLogprobs,
)

ROLES: Final = ("system", "developer", "user", "assistant", "tool")


def _role(value: object) -> object:
    role = value.lower() if isinstance(value, str) else value
    if role not in ROLES:
        raise ValueError(f"a role is one of {', '.join(ROLES)}")
    return role


def _input(value: object) -> object:
    items = value if isinstance(value, list) else [value]
    if value is None or all(isinstance(item, str) for item in items):
        return value
    raise ValueError("invalid input type")


class CalledFunction(OllamaBody):
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    arguments: dict[str, Any] | None = None
    """An object, where OpenAI has a text."""
    index: int | None = None


class ToolCallField(OllamaBody):
    id: Annotated[str, StringConstraints(max_length=256)] | None = None
    type: str | None = None
    function: CalledFunction


class Message(OllamaBody):
    role: Annotated[str, BeforeValidator(_role)]
    content: Text | None = None
    thinking: Text | None = None
    images: Images | None = None
    tool_calls: Annotated[list[ToolCallField], Field(max_length=MAX_TOOLS)] | None = None
    tool_name: Annotated[str, StringConstraints(max_length=256)] | None = None
    tool_call_id: Annotated[str, StringConstraints(max_length=256)] | None = None
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    """What older clients have for `tool_name`."""


class FunctionField(OllamaBody):
    """What more a tool says goes to the template as it is."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class ToolField(OllamaBody):
    type: str | None = None
    function: FunctionField


class GenerationBody(AskBody):
    """What generate and chat share."""

    stream: bool | None = None
    format: Format = None
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    debug_render_only: Annotated[bool | None, Field(alias="_debug_render_only")] = None

    @property
    def is_stream(self) -> bool:
        return self.stream is not False


class GenerateBody(GenerationBody):
    prompt: Text | None = None
    suffix: Text | None = None
    system: Text | None = None
    template: Text | None = None
    context: Annotated[list[int], Field(fail_fast=True, max_length=MAX_INTS)] | None = None
    raw: bool | None = None
    images: Images | None = None


class ChatBody(GenerationBody):
    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)] | None = None
    tools: Annotated[list[ToolField], Field(max_length=MAX_TOOLS)] | None = None


class EmbedBody(AskBody):
    input: Annotated[
        Text | Annotated[list[Text], Field(fail_fast=True, max_length=MAX_INPUTS)] | None,
        BeforeValidator(_input),
    ] = None
    truncate: bool | None = None
    dimensions: Annotated[int, Field(ge=0, le=1 << 20)] | None = None

    @property
    def inputs(self) -> list[str]:
        """Empty: the model is only to be loaded."""
        if isinstance(self.input, str):
            return [self.input] if self.input else []
        return list(self.input or ())


class EmbeddingsBody(AskBody):
    """The older form."""

    prompt: Text | None = None


class ShowBody(NamedBody):
    verbose: bool | None = None
    system: Text | None = None
    template: Text | None = None
    options: dict[str, Any] | None = None


class CopyBody(OllamaBody):
    source: Name | None = None
    destination: Name | None = None


class TransferBody(NamedBody):
    """Pull and push."""

    stream: bool | None = None
    insecure: bool | None = None
    username: Text | None = None
    password: Text | None = None


class CreateBody(NamedBody):
    model_config = ConfigDict(populate_by_name=False)

    stream: bool | None = None
    from_: Annotated[Name | None, Field(alias="from")] = None
    files: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    adapters: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    draft_files: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    template: Text | None = None
    system: Text | None = None
    license: Text | Annotated[list[Text], Field(max_length=MAX_FILES)] | None = None
    parameters: dict[str, Any] | None = None
    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)] | None = None
    quantize: Annotated[str, StringConstraints(max_length=32)] | None = None
    quantization: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The older spelling of `quantize`."""
    draft_quantize: Annotated[str, StringConstraints(max_length=32)] | None = None
    renderer: Annotated[str, StringConstraints(max_length=80)] | None = None
    parser: Annotated[str, StringConstraints(max_length=80)] | None = None
    requires: Annotated[str, StringConstraints(max_length=80)] | None = None
    info: dict[str, Any] | None = None
    remote_host: Text | None = None
