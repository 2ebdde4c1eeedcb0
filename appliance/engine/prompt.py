"""Chat templates: the only door to jinja2. Compiles and renders one model's template; flow 1 (chat), first
step in the runner.

A template comes from outside and is a program. The sandbox here keeps it from Python's insides; it does not
bound time or memory (nothing inside a process can: Jinja folds constants while it compiles). So in production
this module runs only in the throw-away process of `runner/template_worker.py`; `InlineRenderer` is for tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import msgspec

from appliance.engine.chat_messages import (
    Message,
    describe_tools,
    fold_system,
    normalise,
    with_text_arguments,
)
from appliance.engine.template_format import (
    CHATML,
    TemplateFacts,
    TemplateSource,
    ToolFormat,
    detect_reasoning,
    detect_tool_format,
    of_the_caller,
)
from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import ChatPrompt, ToolChoice

MAX_SOURCE_BYTES: Final = 256 * 1024
_MAX_REASON_CHARS: Final = 500
_CONTINUE_MARK: Final = "\ue000outpost:continue\ue001"
"""Stands after the final message's text while it is rendered, so that the prompt can be cut there."""

_RESERVED: Final = frozenset(
    {
        "messages",
        "tools",
        "response_format",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "strftime_now",
    }
)
_FAULTS: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What rendering may raise besides our own: the template's code runs Python's operators."""

_CANNED: Final[tuple[list[Message], ...]] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Bye"},
    ],
)


class TemplateRaised(jinja2.TemplateError):
    """The template itself refused the conversation (`raise_exception`)."""


class OutputTooLong(jinja2.TemplateError):
    """The template wrote more than its bound."""


class ChatTemplate:
    """One compiled template. Immutable after construction; owned by the thread that renders."""

    def __init__(
        self,
        source: str | None,
        bos_text: str = "",
        eos_text: str = "",
        *,
        max_output_bytes: int = 4 * 1024 * 1024,
        model: str = "",
    ) -> None:
        """Compile. Raises ModelInvalid; a hostile source may also take all memory and time here."""
        self._model = model
        text = CHATML if source is None else source
        if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
            raise self._invalid(f"the chat template is larger than {MAX_SOURCE_BYTES} bytes")
        self.tool_format = detect_tool_format(source)
        self.reasoning = detect_reasoning(source)
        self._keep_developer = "developer" in text
        self._fold_system = False
        self._absent_tools: list[Message] | None = None
        self._tokens = {"bos_token": bos_text, "eos_token": eos_text}
        self._max_output_bytes = max_output_bytes
        try:
            self._template = _environment().from_string(text)
        except _FAULTS as error:
            raise self._invalid(f"the chat template does not compile: {_reason(error)}") from error

    def check(self, *, now: datetime) -> None:
        """Learn what it takes, then render three canned conversations. Raises ModelInvalid."""
        if not self._shows(_CANNED[0], now):
            self._absent_tools = []  # it iterates `tools` unasked (Hermes 2 Pro, Command R+)
        if not self._shows(_CANNED[1], now):
            self._fold_system = True  # it refuses the system role (Gemma 2)
        for conversation in _CANNED:
            try:
                self.render(conversation, now=now)
            except InvalidRequest as error:
                raise self._invalid(error.message) from error

    def _shows(self, conversation: list[Message], now: datetime) -> bool:
        try:
            self.render(conversation, now=now)
        except InvalidRequest:
            return False
        return True

    def _invalid(self, reason: str) -> ModelInvalid:
        return ModelInvalid(model=self._model, reason=reason)

    def render(
        self,
        messages: list[Message],
        tools: list[Message] | None = None,
        *,
        now: datetime,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        response_format: Mapping[str, Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt's text. `now` is what `strftime_now` tells. Raises InvalidRequest with the template's
        own words.
        """
        if reserved := _RESERVED.intersection(kwargs or {}):
            raise InvalidRequest(reason=f"{min(reserved)!r} cannot be set", param="chat_template_kwargs")
        if continue_final_message:
            messages = _marked(messages)
        shown = self._shown(messages, tools or [])
        variables: dict[str, Any] = {
            **self._tokens,
            **(kwargs or {}),
            "messages": shown,
            "tools": tools if tools and self.tool_format is not ToolFormat.JSON else self._absent_tools,
            **({} if response_format is None else {"response_format": response_format}),
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "strftime_now": now.strftime,
        }
        text = self._render_refusing(variables)
        return _cut_at_mark(text) if continue_final_message else text

    def _shown(self, messages: list[Message], tools: list[Message]) -> list[Message]:
        shown = normalise(messages, tool_format=self.tool_format, keep_developer=self._keep_developer)
        if tools and self.tool_format is ToolFormat.JSON:
            shown = describe_tools(shown, tools)
        return fold_system(shown) if self._fold_system else shown

    def _render_refusing(self, variables: dict[str, Any]) -> str:
        try:
            try:
                return self._render_bounded(variables)
            except TypeError:
                if not any("tool_calls" in message for message in variables["messages"]):
                    raise
                return self._render_bounded(
                    {**variables, "messages": with_text_arguments(variables["messages"])}
                )
        except TemplateRaised as error:
            raise InvalidRequest(
                reason=f"the chat template says: {_reason(error)}", param="messages"
            ) from error
        except _FAULTS as error:
            raise InvalidRequest(
                reason=f"the model's chat template cannot show this conversation: {_reason(error)}",
                param="messages",
            ) from error

    def _render_bounded(self, variables: dict[str, Any]) -> str:
        pieces: list[str] = []
        room = self._max_output_bytes
        for piece in self._template.generate(variables):
            room -= len(piece)
            if room < 0:
                raise OutputTooLong(f"it writes more than {self._max_output_bytes} bytes")
            pieces.append(piece)
        text = "".join(pieces)
        # Strict: a template can write a lone surrogate, which no tokenizer takes (UnicodeEncodeError is a
        # ValueError).
        if len(text.encode()) > self._max_output_bytes:
            raise OutputTooLong(f"it writes more than {self._max_output_bytes} bytes")
        return text


class TemplateRoom:
    """One template at a time, as a `PromptRenderer` needs it. Owned by the thread that calls it (the worker's
    only one).
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._template: ChatTemplate | None = None

    def set_template(self, template: TemplateSource) -> TemplateFacts:
        self._template = None
        compiled = ChatTemplate(
            template.source,
            template.bos_text,
            template.eos_text,
            max_output_bytes=template.max_output_bytes,
            model=template.model,
        )
        compiled.check(now=self._clock())
        self._template = compiled
        return TemplateFacts(tool_format=compiled.tool_format, reasoning=compiled.reasoning)

    def render(self, chat: ChatPrompt) -> str:
        """By the template that was set: `chat.template` is for who sets it."""
        if self._template is None:
            raise InvalidRequest(reason="this model has no usable chat template", param="messages")
        return self._template.render(
            chat.messages,
            [] if chat.tool_choice is ToolChoice.NONE else chat.tools,
            now=self._clock(),
            continue_final_message=chat.continue_final_message,
            response_format=chat.response_format,
            kwargs=chat.template_kwargs,
        )


class InlineRenderer:
    """For tests: a `PromptRenderer` without the process."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._room = TemplateRoom(clock)
        self._source = TemplateSource(source=None)

    def set_template(self, template: TemplateSource) -> TemplateFacts:
        self._source = template
        return self._room.set_template(template)

    def render(self, chat: ChatPrompt) -> str:
        if chat.template is None:
            return self._room.render(chat)
        with of_the_caller():
            theirs = TemplateRoom(self._clock)
            theirs.set_template(msgspec.structs.replace(self._source, source=chat.template))
            return theirs.render(chat)


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here it only shows its
    body.
    """

    tags = {"generation"}  # noqa: RUF012  # jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationTag]
    )
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    environment.globals["raise_exception"] = _raise_exception
    environment.filters["tojson"] = _to_json
    return environment


def _raise_exception(message: object) -> NoReturn:
    raise TemplateRaised(str(message))


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  # templates pass it by position
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Hugging Face's `tojson`: plain JSON, where Jinja's own escapes for HTML and sorts keys."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _marked(messages: list[Message]) -> list[Message]:
    final = messages[-1] if messages else {}
    content = final.get("content")
    if final.get("role") != "assistant" or final.get("tool_calls") or not isinstance(content, str):
        raise InvalidRequest(reason="the message to continue must be the assistant's text", param="messages")
    return [*messages[:-1], {**final, "content": content + _CONTINUE_MARK}]


def _cut_at_mark(text: str) -> str:
    at = text.rfind(_CONTINUE_MARK)
    if at < 0:
        raise InvalidRequest(
            reason="the model's chat template does not show the message to continue", param="messages"
        )
    return text[:at]


def _reason(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_REASON_CHARS else text[:_MAX_REASON_CHARS] + "…"
