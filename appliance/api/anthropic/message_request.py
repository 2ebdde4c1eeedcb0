"""From a body of `/v1/messages` to a `Generate`: prompt, tools, thinking, format, limits. Pure."""

from __future__ import annotations

from typing import Any, Final

from appliance.api.anthropic import content
from appliance.api.anthropic.schema import MessagesBody, PromptBody
from appliance.api.anthropic.tools import toolbox_of
from appliance.api.dialect import generation_request
from appliance.api.dialect.fields import GenerationFields, SamplingFields
from appliance.errors import InvalidRequest
from appliance.wire.messages import ChatPrompt, Constraint, Generate

_SAMPLING: Final = tuple(name for name in SamplingFields.model_fields if name != "keep_alive")


def fields_of(body: MessagesBody) -> GenerationFields:
    """What OpenAI's bodies would say in its place; what a model stores as its defaults goes by that."""
    said = {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}
    return GenerationFields(model=body.model, max_tokens=body.max_tokens, stop=body.stop_sequences, **said)


def request_of(body: MessagesBody, fields: GenerationFields, *, scope: str) -> Generate:
    """The `Generate` that `body` means. Raises InvalidRequest or Unsupported."""
    return Generate(
        id=0,
        prompt=prompt_of(body),
        max_tokens=body.max_tokens,
        constraint=_constraint_of(body),
        **generation_request.common_of(fields, scope=scope),
    )


def prompt_of(body: PromptBody) -> ChatPrompt:
    """A last message of the assistant is continued."""
    toolbox = toolbox_of(body)
    messages = content.conversation(body.system, body.messages)
    if content.ends_with_call(body.messages):
        raise InvalidRequest(
            reason="a 'tool_use' needs its 'tool_result' in the next message",
            param=f"messages.{len(body.messages) - 1}.content",
        )
    return ChatPrompt(
        messages=messages,
        tools=toolbox.tools,
        tool_choice=toolbox.choice,
        tool_name=toolbox.name,
        parallel_tool_calls=toolbox.is_parallel,
        response_format=_format_told(body),
        template_kwargs=_template_kwargs(body),
        continue_final_message=body.messages[-1].role == "assistant",
    )


def _template_kwargs(body: PromptBody) -> dict[str, Any]:
    """Without `thinking` a model does not think: that is Anthropic's default, whatever the template's is."""
    thinking, config = body.thinking, body.output_config
    told: dict[str, Any] = {"enable_thinking": thinking is not None and thinking.type != "disabled"}
    if thinking is not None and thinking.type == "enabled" and thinking.budget_tokens is None:
        raise InvalidRequest(reason="the field is required", param="thinking.budget_tokens")
    if config is not None and config.effort is not None:
        told["reasoning_effort"] = config.effort
    return told


def _constraint_of(body: MessagesBody) -> Constraint | None:
    config = body.output_config
    if config is None or config.format is None:
        return None
    return generation_request.schema_constraint(config.format.schema_, param="output_config.format.schema")


def _format_told(body: PromptBody) -> dict[str, Any] | None:
    """In OpenAI's form, which is what templates know."""
    config = body.output_config
    if config is None or config.format is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": config.format.schema_}}
