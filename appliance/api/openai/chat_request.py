"""From a chat body to a `Generate`: roles, content parts, tools, response format, reasoning. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from appliance.api.dialect import generation_request, json_schema_limits
from appliance.api.openai.schema import (
    AllowedToolsChoice,
    ChatBody,
    Message,
    NamedTool,
    ResponseFormat,
    ToolField,
)
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import ChatPrompt, Constraint, ConstraintKind, Generate, ToolChoice

_MAX_TEMPLATE_KWARGS_BYTES: Final = 16 * 1024
_TEXT_PARTS: Final = frozenset({"text", "refusal"})
_ROLE_FIELDS: Final = {
    "tool_calls": "assistant",
    "tool_call_id": "tool",
    "reasoning_content": "assistant",
    "reasoning": "assistant",
    "refusal": "assistant",
}
"""Field of a message → the only role that may have it."""


def request_of(body: ChatBody, *, scope: str, raw_grammar: bool) -> Generate:
    """The `Generate` that `body` means. Raises InvalidRequest or Unsupported."""
    return Generate(
        id=0,
        prompt=_prompt_of(body),
        max_tokens=generation_request.limit_of(
            body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
        ),
        constraint=_constraint_of(body, raw_grammar=raw_grammar),
        top_logprobs=_top_logprobs_of(body),
        **generation_request.common_of(body, scope=scope),
    )


def _prompt_of(body: ChatBody) -> ChatPrompt:
    tools, choice, name = _tools_of(body)
    is_continued = bool(body.continue_final_message)
    if is_continued and body.messages[-1].role != "assistant":
        raise InvalidRequest(
            reason="the last message must be the assistant's", param="continue_final_message"
        )
    if body.add_generation_prompt is not None and body.add_generation_prompt == is_continued:
        raise InvalidRequest(
            reason="must be the opposite of 'continue_final_message'", param="add_generation_prompt"
        )
    return ChatPrompt(
        messages=[
            _message_of(message, path=f"messages.{index}") for index, message in enumerate(body.messages)
        ],
        tools=[tool.model_dump(exclude_none=True) for tool in tools],
        tool_choice=choice,
        tool_name=name,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=_format_told(body.response_format),
        template_kwargs=_template_kwargs_of(body),
        parse_reasoning=body.reasoning_format != "none",
        continue_final_message=is_continued,
    )


def _message_of(message: Message, *, path: str) -> dict[str, Any]:
    for field, role in _ROLE_FIELDS.items():
        if getattr(message, field) is not None and message.role != role:
            raise InvalidRequest(reason=f"only for the role '{role}'", param=f"{path}.{field}")
    if message.role == "tool" and message.tool_call_id is None:
        raise InvalidRequest(reason="the field is required for the role 'tool'", param=f"{path}.tool_call_id")
    content = _text_of(message.content, path=f"{path}.content")
    if content is None:
        content = message.refusal
    if content is None and not (message.role == "assistant" and message.tool_calls):
        raise InvalidRequest(reason="the field is required", param=f"{path}.content")
    told: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content,
    }
    if message.tool_calls:
        told["tool_calls"] = [
            call.model_dump(exclude={"index": True, "function": {"parsed_arguments"}})
            for call in message.tool_calls
        ]
    for field in ("name", "tool_call_id"):
        if (value := getattr(message, field)) is not None:
            told[field] = value
    if (reasoning := message.reasoning_content or message.reasoning) is not None:
        told["reasoning_content"] = reasoning
    return told


def _text_of(content: str | list[dict[str, Any]] | None, *, path: str) -> str | None:
    """Text parts put together; any other part is refused by its name."""
    if content is None or isinstance(content, str):
        return content
    return "".join(_part_text(part, path=f"{path}.{index}") for index, part in enumerate(content))


def _part_text(part: dict[str, Any], *, path: str) -> str:
    kind = part.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest(reason="a string is expected", param=f"{path}.type")
    if kind not in _TEXT_PARTS:
        raise Unsupported(
            feature=f"content of type '{kind[:64]}'",
            reason="the models here read text only",
            param=f"{path}.type",
        )
    text = part.get(kind)
    if not isinstance(text, str):
        raise InvalidRequest(reason="a string is expected", param=f"{path}.{kind}")
    for name in part.keys() - {"type", kind, "annotations", "cache_control"}:
        raise Unsupported(
            feature="this field of a content part", reason="it is unknown here", param=f"{path}.{name[:64]}"
        )
    return text


def _tools_of(body: ChatBody) -> tuple[list[ToolField], ToolChoice, str | None]:
    """The tools the model may see, what it must do with them, and the one it must call."""
    tools, choice = list(body.tools or []), body.tool_choice
    names = _checked_names(tools)
    if isinstance(choice, NamedTool):
        _check_known(choice.function.name, names, path="tool_choice.function.name")
        return tools, ToolChoice.NAMED, choice.function.name
    if isinstance(choice, AllowedToolsChoice):
        allowed = [tool.function.name for tool in choice.allowed_tools.tools]
        for index, name in enumerate(allowed):
            _check_known(name, names, path=f"tool_choice.allowed_tools.tools.{index}.function.name")
        return (
            [tool for tool in tools if tool.function.name in allowed],
            ToolChoice(choice.allowed_tools.mode),
            None,
        )
    if choice == "required" and not tools:
        raise InvalidRequest(reason="'required' needs 'tools'", param="tool_choice")
    return tools, ToolChoice(choice or "auto"), None


def _checked_names(tools: list[ToolField]) -> set[str]:
    names: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools.{index}.function"
        if tool.function.name in names:
            raise InvalidRequest(reason="two tools have this name", param=f"{path}.name")
        names.add(tool.function.name)
        if tool.function.parameters is not None:
            json_schema_limits.check(tool.function.parameters, param=f"{path}.parameters")
    return names


def _check_known(name: str, names: set[str], *, path: str) -> None:
    if name not in names:
        raise InvalidRequest(reason="no entry of 'tools' has this name", param=path)


def _constraint_of(body: ChatBody, *, raw_grammar: bool) -> Constraint | None:
    direct = generation_request.direct_constraint_of(body, raw_grammar=raw_grammar)
    told = _format_constraint(body.response_format)
    if direct is not None and told is not None:
        raise InvalidRequest(
            reason="excludes 'grammar' and 'json_schema' at the top of the body", param="response_format"
        )
    return direct or told


def _format_constraint(told: ResponseFormat | None) -> Constraint | None:
    if told is None or told.type == "text":
        return None
    if told.type == "json_schema":
        if told.json_schema is None:
            raise InvalidRequest(reason="the field is required", param="response_format.json_schema")
        if told.json_schema.schema_ is None:
            return Constraint(kind=ConstraintKind.JSON_OBJECT)
        return generation_request.schema_constraint(
            told.json_schema.schema_, param="response_format.json_schema.schema"
        )
    if told.schema_ is not None:
        return generation_request.schema_constraint(told.schema_, param="response_format.schema")
    return Constraint(kind=ConstraintKind.JSON_OBJECT)


def _format_told(told: ResponseFormat | None) -> dict[str, Any] | None:
    """As the template sees it; plain text is what it expects anyway."""
    if told is None or told.type == "text":
        return None
    return told.model_dump(by_alias=True, exclude_none=True)


def _top_logprobs_of(body: ChatBody) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest(reason="needs 'logprobs': true", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _template_kwargs_of(body: ChatBody) -> dict[str, Any]:
    told = dict(body.chat_template_kwargs or {})
    if len(msgspec.json.encode(told)) > _MAX_TEMPLATE_KWARGS_BYTES:
        raise InvalidRequest(
            reason=f"at most {_MAX_TEMPLATE_KWARGS_BYTES} bytes", param="chat_template_kwargs"
        )
    if body.reasoning_effort is not None:
        told.setdefault("reasoning_effort", body.reasoning_effort)
        told.setdefault("enable_thinking", body.reasoning_effort != "none")
    return told
