"""Anthropic's tools and `tool_choice` as the wire has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from appliance.api.anthropic.schema import OtherTool, PromptBody, Tool
from appliance.api.dialect import json_schema_limits
from appliance.api.visible import shown
from appliance.errors import InvalidRequest, Unsupported
from appliance.wire.messages import ToolChoice

_CHOICES: Final = {
    "auto": ToolChoice.AUTO,
    "any": ToolChoice.REQUIRED,
    "tool": ToolChoice.NAMED,
    "none": ToolChoice.NONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """What the model may call, and what it must."""

    tools: list[dict[str, Any]]
    """OpenAI's objects."""
    choice: ToolChoice
    name: str | None
    """Of the one that must be called."""
    is_parallel: bool


def toolbox_of(body: PromptBody) -> Toolbox:
    """Raises InvalidRequest or Unsupported."""
    tools = [_object(tool, at) for at, tool in enumerate(body.tools or ())]
    names = [tool["function"]["name"] for tool in tools]
    _check_unique(names)
    told = body.tool_choice
    if told is None:
        return Toolbox(tools=tools, choice=ToolChoice.AUTO, name=None, is_parallel=True)
    if (told.name is None) == (told.type == "tool"):
        reason = "the field is required" if told.type == "tool" else "only for the type 'tool'"
        raise InvalidRequest(reason=reason, param="tool_choice.name")
    if told.name is not None and told.name not in names:
        raise InvalidRequest(reason="no entry of 'tools' has this name", param="tool_choice.name")
    if told.type == "any" and not tools:
        raise InvalidRequest(reason="'any' needs 'tools'", param="tool_choice.type")
    return Toolbox(
        tools=tools,
        choice=_CHOICES[told.type],
        name=told.name,
        is_parallel=not told.disable_parallel_tool_use,
    )


def _object(tool: Tool | OtherTool, at: int) -> dict[str, Any]:
    if isinstance(tool, OtherTool):
        raise Unsupported(
            feature=f"a tool of type '{shown(tool.type)}'",
            reason="this Outpost runs no tools itself; send 'custom' ones",
            param=f"tools.{at}.type",
        )
    json_schema_limits.check(tool.input_schema, param=f"tools.{at}.input_schema")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _check_unique(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if name in seen:
            raise InvalidRequest(reason="two tools have this name", param=f"tools.{at}.name")
        seen.add(name)
