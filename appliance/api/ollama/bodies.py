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
    """The answer as lines while it is made. Default: true."""
    format: Format = None
    """`json`, or a schema that the answer keeps to. Default: text."""
    think: Think = None
    """Whether the model thinks, and how much. Default: as its template has it."""
    truncate: bool | None = None
    """True: the oldest messages go where it is too long; false: that is refused. Default: false."""
    shift: bool | None = None
    """Ignored with a warning: an answer that fills the context ends."""
    logprobs: bool | None = None
    """Tell the log-probability of each token. Default: false."""
    top_logprobs: TopLogprobs | None = None
    """With `logprobs`: also those of so many likeliest others. Default: 0."""
    debug_render_only: Annotated[bool | None, Field(alias="_debug_render_only")] = None
    """Tell the rendered prompt, and make no answer. Default: false."""

    @property
    def is_stream(self) -> bool:
        return self.stream is not False


class GenerateBody(GenerationBody):
    prompt: Text | None = None
    """Empty: the model is only loaded, or with `keep_alive` 0 put out of memory."""
    suffix: Text | None = None
    """What comes after the answer; only of models that fill in. Default: nothing."""
    system: Text | None = None
    """The system message. Default: what the model was stored with."""
    template: Text | None = None
    """Go's or Jinja's, up to 32 KiB, for this request; not with `raw`, `suffix`. Default: the model's."""
    context: Annotated[list[int], Field(fail_fast=True, max_length=MAX_INTS)] | None = None
    """Of an earlier answer from here: the conversation to go on with. Default: none."""
    raw: bool | None = None
    """The prompt is the whole text that the model sees. Default: false."""
    images: Images | None = None
    """Refused: no model here sees."""


class ChatBody(GenerationBody):
    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)] | None = None
    """Oldest first. Empty: the model is only loaded, or with `keep_alive` 0 put out of memory."""
    tools: Annotated[list[ToolField], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may call. Default: none."""


class EmbedBody(AskBody):
    input: Annotated[
        Text | Annotated[list[Text], Field(fail_fast=True, max_length=MAX_INPUTS)] | None,
        BeforeValidator(_input),
    ] = None
    """A text, or up to 2048. Empty: the model is only loaded, or with `keep_alive` 0 put out of memory."""
    truncate: bool | None = None
    """Cut what is too long, which is refused otherwise. Default: false."""
    dimensions: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    """The first so many, of length 1 again; 0: all. Default: 0."""

    @property
    def inputs(self) -> list[str]:
        """Empty: the model is only to be loaded."""
        if isinstance(self.input, str):
            return [self.input] if self.input else []
        return list(self.input or ())


class EmbeddingsBody(AskBody):
    """The older form."""

    prompt: Text | None = None
    """Empty: the model is only loaded, or with `keep_alive` 0 put out of memory."""


class ShowBody(NamedBody):
    verbose: bool | None = None
    """Also long metadata; a vocabulary by its length. Default: false."""
    system: Text | None = None
    """Ignored with a warning: the model is shown as it is stored."""
    template: Text | None = None
    """Ignored with a warning: the model is shown as it is stored."""
    options: dict[str, Any] | None = None
    """Ignored with a warning: the model is shown as it is stored."""


class CopyBody(OllamaBody):
    source: Name | None = None
    """The name of a stored model; required."""
    destination: Name | None = None
    """A second name for it; required."""


class TransferBody(NamedBody):
    """Pull and push."""

    stream: bool | None = None
    """Progress as lines while it works. Default: true."""
    insecure: bool | None = None
    """Ignored with a warning: the configuration says how a host is called."""
    username: Text | None = None
    """Ignored with a warning: the configuration has it for its hosts."""
    password: Text | None = None
    """Ignored with a warning: the configuration has it for its hosts."""


class CreateBody(NamedBody):
    model_config = ConfigDict(populate_by_name=False)

    stream: bool | None = None
    """Progress as lines while it works. Default: true."""
    from_: Annotated[Name | None, Field(alias="from")] = None
    """The name of the model that it is made of; this or `files` is required."""
    files: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    """File name → digest of a GGUF that was sent as a blob."""
    adapters: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    """File name → digest of an adapter that was sent as a blob. Default: none."""
    draft_files: Annotated[dict[Name, Digest], Field(max_length=MAX_FILES)] | None = None
    """File name → digest of one GGUF that guesses ahead. Default: none."""
    template: Text | None = None
    """The chat template. Default: that of the model it is made of."""
    system: Text | None = None
    """The system message. Default: that of the model it is made of."""
    license: Text | Annotated[list[Text], Field(max_length=MAX_FILES)] | None = None
    """One text, or several."""
    parameters: dict[str, Any] | None = None
    """What a request's `options` say, for requests that say nothing."""
    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)] | None = None
    """A conversation in front of each request's: texts only."""
    quantize: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The type that the weights are brought to, as `q4_K_M`. Default: as they are."""
    quantization: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The older spelling of `quantize`."""
    draft_quantize: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Refused: a draft model comes in its final type."""
    renderer: Annotated[str, StringConstraints(max_length=80)] | None = None
    """Code of Ollama's that writes prompts; one that this engine lacks is refused."""
    parser: Annotated[str, StringConstraints(max_length=80)] | None = None
    """Code of Ollama's that reads answers; one that this engine lacks is refused."""
    requires: Annotated[str, StringConstraints(max_length=80)] | None = None
    """The least version of Ollama that may run it; a newer one than ours is refused."""
    info: dict[str, Any] | None = None
    """Ignored with a warning: what a model is, its GGUF says."""
    remote_host: Text | None = None
    """Refused: models run on this board, or not at all."""
