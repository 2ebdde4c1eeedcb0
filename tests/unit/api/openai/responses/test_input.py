"""What the items of an input become on their way to the model."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import ConstraintKind, ToolChoice
from tests.unit.api.door import Door, refusal
from tests.unit.api.openai.responses.asked import prompt, respond, sent

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": None}


def called(*ids: str) -> list[dict[str, Any]]:
    return [
        {
            "id": id_,
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
        }
        for id_ in ids
    ]


def test_a_text_is_a_message_of_the_user_after_the_instructions() -> None:
    assert prompt(input="hi", instructions="be brief").messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_parts_of_text_are_joined_and_a_developer_is_the_system() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]
    told = prompt(input=[{"role": "developer", "content": "x"}, {"role": "user", "content": parts}])
    assert told.messages == [{"role": "system", "content": "x"}, {"role": "user", "content": "ab"}]


def test_calls_join_the_message_before_them_and_outputs_are_messages_of_the_tool() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]}
    told = prompt(input=[USER, said, CALL, {**CALL, "call_id": "c2"}, OUTPUT]).messages
    assert told[1] == {"role": "assistant", "content": "wait", "tool_calls": called("c1", "c2")}
    assert told[2] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}


def test_thoughts_belong_to_the_message_or_the_call_after_them() -> None:
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    told = prompt(input=[USER, thought, {"role": "assistant", "content": "yes"}, USER]).messages
    assert told[1] == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    told = prompt(input=[USER, thought, CALL, OUTPUT]).messages
    assert told[1]["reasoning_content"] == "hm"
    assert told[1]["tool_calls"] == called("c1")
    assert told[1]["content"] is None


def test_a_summary_stands_for_thoughts_that_were_not_told() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "sum"}]}
    assert prompt(input=[USER, thought]).messages[1]["reasoning_content"] == "sum"


def test_items_may_be_as_answers_have_them() -> None:
    answered: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "phase": None,
        "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": [], "parsed": None}],
    }
    call = {**CALL, "id": "fc_1", "status": "completed", "parsed_arguments": {"city": "Oslo"}, "async": None}
    told = prompt(input=[USER, answered, call, {**OUTPUT, "id": "x", "status": "completed"}])
    assert told.messages[1]["tool_calls"] == called("c1")


def test_an_output_may_be_parts() -> None:
    output = {**OUTPUT, "output": [{"type": "input_text", "text": "rain"}]}
    assert prompt(input=[USER, CALL, output]).messages[-1]["content"] == "rain"


def test_tools_and_choices_are_those_of_chat() -> None:
    told = prompt(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    assert told.tools == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    assert (told.tool_choice, told.tool_name) == (ToolChoice.NAMED, "weather")
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "weather"}],
    }
    told = prompt(tools=[TOOL, {**TOOL, "name": "other"}], tool_choice=allowed)
    assert told.tool_choice is ToolChoice.REQUIRED
    assert [tool["function"]["name"] for tool in told.tools] == ["weather"]
    assert prompt(tools=[TOOL], parallel_tool_calls=False).parallel_tool_calls is False


def test_a_format_is_a_constraint() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    told = sent(text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}})
    assert told.constraint is not None
    assert (told.constraint.kind, told.constraint.schema) == (ConstraintKind.JSON_SCHEMA, schema)
    told = sent(text={"format": {"type": "json_object"}})
    assert told.constraint is not None and told.constraint.kind is ConstraintKind.JSON_OBJECT
    assert sent(text={"format": {"type": "text"}}).constraint is None


def test_the_other_fields_are_those_of_chat() -> None:
    told = sent(
        temperature=0.25,
        top_p=0.5,
        max_output_tokens=9,
        seed=7,
        top_k=3,
        top_logprobs=2,
        reasoning={"effort": "low"},
    )
    assert (told.sampling.temperature, told.sampling.top_p, told.sampling.top_k) == (0.25, 0.5, 3)
    assert (told.max_tokens, told.sampling.seed, told.top_logprobs) == (9, 7, 2)
    assert prompt(reasoning={"effort": "none"}).template_kwargs["enable_thinking"] is False
    assert sent(include=["message.output_text.logprobs"]).top_logprobs == 0


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": 5}, "input", "invalid_value"),
        ({"input": [5]}, "input.0", "invalid_value"),
        ({"input": [{}]}, "input.0.role", "invalid_value"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", "invalid_value"),
        ({"input": [{**USER, "images": []}]}, "input.0.images", "unsupported_parameter"),
        ({"input": [USER, {"type": "item_reference", "id": "x"}]}, "input.1.type", "unsupported_parameter"),
        ({"input": [{"type": "web_search_call"}]}, "input.0.type", "unsupported_parameter"),
        ({"input": [{"type": 5}]}, "input.0.type", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]},
            "input.0.content.0.type",
            "unsupported_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input.0.content.0.type",
            "unsupported_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
            "input.0.content.0.text",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "y": 1}]}]},
            "input.0.content.0.y",
            "unsupported_parameter",
        ),
        ({"input": [{"role": "user", "content": [{}]}]}, "input.0.content.0.type", "invalid_value"),
        ({"input": [USER, OUTPUT]}, "input.1.call_id", "invalid_value"),
        ({"input": [USER, OUTPUT, CALL]}, "input.1.call_id", "invalid_value"),
        ({"input": [{**CALL, "name": "a b"}]}, "input.0.name", "invalid_value"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "unsupported_parameter"),
        ({"tools": [TOOL, TOOL]}, "tools.1.name", "invalid_value"),
        ({"tools": [{**TOOL, "parameters": {"$ref": "http://x"}}]}, "tools.0.parameters", "invalid_value"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools.0.defer_loading", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "invalid_value"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type", "unsupported_parameter"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name", "invalid_value"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "invalid_value"),
        ({"text": {"format": {"type": "text", "name": "x"}}}, "text.format.name", "invalid_value"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "http://x"}}}},
            "text.format.schema",
            "invalid_value",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 65, "invalid_value"),
        ({"metadata": {"k": 5}}, "metadata.k", "invalid_value"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", "invalid_value"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "x"}}, "prompt", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        (
            {"stream": True, "stream_options": {"include_usage": True}},
            "stream_options.include_usage",
            "unsupported_parameter",
        ),
        ({"include": ["x\r\nSet-Cookie: y"]}, "include.0", "invalid_value"),
        ({"previous_response_id": "resp_nope"}, "previous_response_id", "previous_response_not_found"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    assert refusal(respond(Door(), **fields)) == (400, param, code)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"truncation": "auto"}, "'truncation' is ignored"),
        ({"text": {"verbosity": "low"}}, "'text.verbosity' is ignored"),
        ({"reasoning": {"summary": "auto"}}, "'reasoning.summary' is ignored"),
        ({"reasoning": {"generate_summary": "auto"}}, "'reasoning.summary' is ignored"),
        ({"reasoning": {"context": "all_turns"}}, "'reasoning.context' is ignored"),
        ({"reasoning": {"mode": "pro"}}, "'reasoning.mode' is ignored"),
        ({"include": ["reasoning.encrypted_content"]}, "'reasoning.encrypted_content' is ignored"),
        (
            {"input": [USER, {"type": "reasoning", "encrypted_content": "x"}]},
            "'encrypted_content' of items is ignored",
        ),
        ({"max_tool_calls": 3}, "'max_tool_calls' is ignored"),
        ({"safety_identifier": "x"}, "'safety_identifier' is ignored"),
        (
            {"tools": [TOOL], "tool_choice": "required", "text": {"format": {"type": "json_object"}}},
            "'text.format' is ignored",
        ),
    ],
)
def test_what_is_not_done_is_said(fields: dict[str, Any], told: str) -> None:
    answer = respond(Door(), **fields)
    assert answer.status_code == 200, answer.text
    assert told in answer.headers["x-outpost-warning"]


def test_what_asks_for_nothing_needs_no_warning() -> None:
    fields: dict[str, Any] = {
        "truncation": "disabled",
        "background": False,
        "text": {"verbosity": "medium"},
        "reasoning": {"context": "auto", "mode": "standard"},
        "max_tool_calls": None,
        "service_tier": "auto",
    }
    assert "x-outpost-warning" not in respond(Door(), **fields).headers
