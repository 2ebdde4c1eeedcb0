"""From the body of a response, and what was said before, to the body of a chat. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from appliance.api.dialect.fields import SamplingFields
from appliance.api.openai.chat_warnings import warnings_of as chat_warnings_of
from appliance.api.openai.responses.items import Kept, check_calls, messages_of
from appliance.api.openai.responses.schema import (
    AllowedTools,
    Format,
    FunctionTool,
    NamedFunction,
    Other,
    ReasoningItem,
    ResponseBody,
)
from appliance.api.openai.schema import ChatBody
from appliance.errors import InvalidRequest, Unsupported

LOGPROBS: Final = "message.output_text.logprobs"
_SAME: Final = (*SamplingFields.model_fields, "model", "stream", "service_tier", "parallel_tool_calls")
"""Fields that a chat has under the same name."""


def chat_of(body: ResponseBody, *, past: Sequence[Kept], asked: Sequence[Kept]) -> dict[str, Any]:
    """The body of the chat that `body` means after `past`. Raises InvalidRequest or Unsupported."""
    _check(body)
    if not past and not asked:
        raise InvalidRequest(reason="the field is required", param="input")
    check_calls(past, asked)
    told = {name: value for name in _SAME if (value := getattr(body, name)) is not None}
    if wants_logprobs(body):
        told |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    if body.max_output_tokens is not None:
        told["max_completion_tokens"] = body.max_output_tokens
    if body.reasoning is not None and body.reasoning.effort is not None:
        told["reasoning_effort"] = body.reasoning.effort
    if body.tools:
        told["tools"] = [_tool(tool, path=f"tools.{index}") for index, tool in enumerate(body.tools)]
    if body.tool_choice is not None:
        told["tool_choice"] = _choice(body.tool_choice)
    if body.text is not None and body.text.format is not None:
        told["response_format"] = _format(body.text.format)
    return {**told, "messages": messages_of([*past, *asked], instructions=body.instructions)}


def wants_logprobs(body: ResponseBody) -> bool:
    return body.top_logprobs is not None or LOGPROBS in (body.include or ())


def warnings_of(body: ResponseBody, chat: ChatBody) -> Iterator[str]:
    """What is asked for and not done, though it is no fault."""
    for warning in chat_warnings_of(chat):
        yield warning.replace("'response_format'", "'text.format'")
    if body.truncation == "auto":
        yield "'truncation' is ignored: nothing is cut, what is too long is refused"
    if body.text is not None and body.text.verbosity not in {None, "medium"}:
        yield "'text.verbosity' is ignored"
    yield from _reasoning_warnings(body)
    for name in body.include or ():
        if name != LOGPROBS:
            yield f"'include': '{name}' is ignored: there is nothing of that here"


def _reasoning_warnings(body: ResponseBody) -> Iterator[str]:
    if body.reasoning is not None:
        if body.reasoning.summary is not None or body.reasoning.generate_summary is not None:
            yield "'reasoning.summary' is ignored: thoughts come whole, as 'reasoning_text'"
        if body.reasoning.context not in {None, "auto"}:
            yield "'reasoning.context' is ignored: the model's template decides"
        if body.reasoning.mode not in {None, "standard"}:
            yield "'reasoning.mode' is ignored"
    items = body.input if isinstance(body.input, list) else ()
    if any(isinstance(item, ReasoningItem) and item.encrypted_content for item in items):
        yield "'encrypted_content' of items is ignored"


def _check(body: ResponseBody) -> None:
    if body.background:
        raise Unsupported(
            feature="'background'", reason="answers are made while the caller waits", param="background"
        )
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest(reason="it is only for 'stream': true", param="stream_options")
    if body.stream_options is not None and body.stream_options.include_usage:
        raise Unsupported(
            feature="'include_usage'",
            reason="the last event of a stream always has the usage",
            param="stream_options.include_usage",
        )


def _tool(tool: FunctionTool | Other, *, path: str) -> dict[str, Any]:
    if isinstance(tool, Other):
        raise Unsupported(
            feature=f"a tool of type '{tool.type[:64]}'",
            reason="this Outpost calls nothing itself; send functions, and call them",
            param=f"{path}.type",
        )
    function = tool.model_dump(include={"name", "description", "parameters", "strict"}, exclude_none=True)
    return {"type": "function", "function": function}


def _choice(choice: str | NamedFunction | AllowedTools | Other) -> str | dict[str, Any]:
    match choice:
        case str():
            return choice
        case NamedFunction():
            return _named(choice)
        case AllowedTools():
            allowed = {"mode": choice.mode, "tools": [_named(tool) for tool in choice.tools]}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case Other():
            raise Unsupported(
                feature=f"a choice of type '{choice.type[:64]}'",
                reason="there are functions only",
                param="tool_choice.type",
            )


def _named(tool: NamedFunction) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool.name}}


def _format(told: Format) -> dict[str, Any]:
    if told.type != "json_schema":
        for name in ("name", "description", "schema_", "strict"):
            if getattr(told, name) is not None:
                raise InvalidRequest(
                    reason="it is only for the type 'json_schema'", param=f"text.format.{name.rstrip('_')}"
                )
        return {"type": told.type}
    for name in ("name", "schema_"):
        if getattr(told, name) is None:
            raise InvalidRequest(reason="the field is required", param=f"text.format.{name.rstrip('_')}")
    schema = told.model_dump(
        by_alias=True, exclude_none=True, include={"name", "description", "schema_", "strict"}
    )
    return {"type": "json_schema", "json_schema": schema}
