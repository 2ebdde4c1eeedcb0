"""What a chat template's source tells without running it, and the seam to whoever renders it.

Pure text search: the runner may do this to a hostile template before any Jinja code has seen it. Rendering is
`prompt.py`, in a process of its own (`runner/template_worker.py`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from appliance.errors import InvalidRequest, ModelInvalid
from appliance.wire.messages import ChatPrompt

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Used when a GGUF has no template, as llama.cpp does."""


class ToolFormat(StrEnum):
    """How a model writes a tool call. The parsers are in `chat_output/`, the grammars in `constraint.py`."""

    HERMES = "hermes"
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen)."""
    LLAMA3 = "llama3"
    """`{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`."""
    MISTRAL = "mistral"
    """`[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`."""
    MISTRAL_ARGS = "mistral-args"
    """`[TOOL_CALLS]name[ARGS]{…}` (Mistral from mid-2025)."""
    JSON = "json"
    """The template does not know tools: we describe them in a system message, and take Hermes' form or bare
    JSON back.
    """


class ReasoningTags(msgspec.Struct, frozen=True):
    open: str
    close: str


_REASONING: Final = (
    ReasoningTags("<think>", "</think>"),
    ReasoningTags("[THINK]", "[/THINK]"),
    ReasoningTags("<seed:think>", "</seed:think>"),
    ReasoningTags("<|START_THINKING|>", "<|END_THINKING|>"),
)

_USES_TOOLS = re.compile(r"\{[%{][^%}]*\btools\b")
_HERMES_BODY = re.compile(r"""\\?["']name\\?["'].{0,200}\\?["']arguments\\?["']""", re.DOTALL)
_OTHER_BODIES = ("<arg_key>", "<function=", "<parameter=", "<invoke")


class TemplateSource(msgspec.Struct, frozen=True, kw_only=True):
    """A template and what it needs to render. `source` None: the GGUF has none."""

    source: str | None
    model: str = ""
    """Named in ModelInvalid."""
    bos_text: str = ""
    eos_text: str = ""
    max_output_bytes: int = 4 * 1024 * 1024
    """Four bytes per token of the context is enough; longer output is refused."""


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    tool_format: ToolFormat
    reasoning: ReasoningTags | None


class PromptRenderer(Protocol):
    """Renders chats with one model's template. Every method may be called from any thread."""

    def set_template(self, template: TemplateSource) -> TemplateFacts:
        """Compile it and render three canned conversations. Raises ModelInvalid."""

    def render(self, chat: ChatPrompt) -> str:
        """The prompt's text, by the chat's own template where it has one. Raises InvalidRequest, also when a
        template overruns its bounds.
        """


@contextlib.contextmanager
def of_the_caller() -> Iterator[None]:
    """What is wrong with a template that came with a request is a fault of that request. Raises
    InvalidRequest.
    """
    try:
        yield
    except (InvalidRequest, ModelInvalid) as error:
        reason = error.fields["reason"] or error.message
        raise InvalidRequest(reason=f"your template: {reason}", param="template") from error


def detect_tool_format(source: str | None) -> ToolFormat:
    """The family of a template; JSON when it ignores `tools` or writes calls in a form we do not parse."""
    if source is None or not _USES_TOOLS.search(source):
        return ToolFormat.JSON
    if "[TOOL_CALLS]" in source:
        return ToolFormat.MISTRAL_ARGS if "[ARGS]" in source else ToolFormat.MISTRAL
    if "<tool_call>" in source and not any(mark in source for mark in _OTHER_BODIES):
        return ToolFormat.HERMES if _HERMES_BODY.search(source) else ToolFormat.JSON
    if "<|python_tag|>" in source or ('"parameters"' in source and "<|start_header_id|>" in source):
        return ToolFormat.LLAMA3
    return ToolFormat.JSON


def detect_reasoning(source: str | None) -> ReasoningTags | None:
    """The tags in which the template shows a model's reasoning, or None."""
    return next((tags for tags in _REASONING if source is not None and tags.close in source), None)


def opens_reasoning(prompt: str, tags: ReasoningTags | None) -> bool:
    """Whether the rendered prompt ends inside a reasoning block, so that the answer begins in one."""
    return (
        tags is not None
        and prompt.rfind(tags.open) > prompt.rfind(tags.close)
        and prompt.rstrip().endswith(tags.open)
    )
