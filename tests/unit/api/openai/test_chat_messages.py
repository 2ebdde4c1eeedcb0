"""/v1/chat/completions: messages and tools on their way to the template."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import ToolChoice
from tests.unit.api.door import Door, refusal
from tests.unit.api.openai.asked import prompt

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OTHER_TOOL = {"type": "function", "function": {"name": "clock"}}


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────


def test_developer_is_system_and_text_parts_are_joined() -> None:
    told = prompt(
        messages=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "name": "Ann",
            },
        ]
    )
    assert told.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab", "name": "Ann"},
    ]


def test_an_answer_of_ours_can_be_sent_back_as_it_came() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    told = prompt(
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "reasoning_content": "hm",
                "reasoning": "hm",
                "tool_calls": [{**call, "index": 0}],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
        ]
    )
    assert told.messages[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call],
        "reasoning_content": "hm",
    }
    assert told.messages[2] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


def test_the_last_message_can_be_continued() -> None:
    told = prompt(
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Once"}],
        continue_final_message=True,
        add_generation_prompt=False,
    )
    assert told.continue_final_message


def test_reasoning_and_template_variables_reach_the_template() -> None:
    assert prompt(reasoning_effort="none").template_kwargs == {
        "reasoning_effort": "none",
        "enable_thinking": False,
    }
    assert prompt(chat_template_kwargs={"x": 1}).template_kwargs == {"x": 1}
    assert prompt(reasoning_format="none").parse_reasoning is False
    assert prompt(reasoning_format="auto").parse_reasoning is True


# ── tools ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_forms_of_tool_choice() -> None:
    both = [TOOL, OTHER_TOOL]
    assert prompt(tools=both).tool_choice is ToolChoice.AUTO
    assert prompt(tools=both, tool_choice="required").tool_choice is ToolChoice.REQUIRED
    assert prompt(tools=both, tool_choice="none", parallel_tool_calls=False).parallel_tool_calls is False
    named = prompt(tools=both, tool_choice={"type": "function", "function": {"name": "clock"}})
    assert (named.tool_choice, named.tool_name) == (ToolChoice.NAMED, "clock")
    assert named.tools == both


def test_allowed_tools_hide_the_others() -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]},
    }
    told = prompt(tools=[TOOL, OTHER_TOOL], tool_choice=choice)
    assert told.tools == [OTHER_TOOL]
    assert told.tool_choice is ToolChoice.REQUIRED


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "function", "function": {"name": "weather\n"}}]}, "tools.0.function.name"),
        ({"tools": [TOOL, TOOL]}, "tools.1.function.name"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"enum": ["x"] * 1001}}}
                ]
            },
            "tools.0.function.parameters",
        ),
    ],
)
def test_wrong_tools_are_400_with_their_path(fields: dict[str, Any], param: str) -> None:
    assert refusal(Door().chat(**fields))[:2] == (400, param)
