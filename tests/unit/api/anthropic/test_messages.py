"""/v1/messages: what a body becomes on its way to the runner."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.supervisor.policy import ModelDefaults
from appliance.wire.messages import ChatPrompt, ConstraintKind, Generate, ToolChoice
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.anthropic.asked import post, prompt, sent, warnings
from tests.unit.api.door import Door

USER = {"role": "user", "content": "hi"}
TOOL: dict[str, Any] = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def test_the_least_body() -> None:
    kwargs = {"enable_thinking": False}
    assert sent() == Generate(id=0, prompt=ChatPrompt(messages=[USER], template_kwargs=kwargs), max_tokens=16)


@pytest.mark.parametrize(
    ("system", "becomes"),
    [("be brief", "be brief"), ([text("be brief"), text("be kind")], "be brief\nbe kind")],
)
def test_a_system_prompt_is_a_text_or_blocks(system: object, becomes: str) -> None:
    assert prompt(system=system).messages == [{"role": "system", "content": becomes}, USER]


@pytest.mark.parametrize("system", ["", []])
def test_an_empty_system_prompt_is_none(system: object) -> None:
    assert prompt(system=system).messages == [USER]


def test_a_systems_word_may_stand_between_messages() -> None:
    told = prompt(messages=[USER, {"role": "system", "content": [text("now brief")]}, USER]).messages
    assert [one["role"] for one in told] == ["user", "system", "user"]


def test_blocks_of_text_and_messages_of_one_role_are_one_turn() -> None:
    told = prompt(messages=[{"role": "user", "content": [text("a"), text("b")]}, USER]).messages
    assert told == [{"role": "user", "content": "a\nb\nhi"}]


def test_a_call_and_its_result_come_back_as_the_template_knows_them() -> None:
    answered = [
        {"type": "thinking", "thinking": "where?", "signature": "opaque"},
        text("I look."),
        {**CALL, "caller": None, "cache_control": {"type": "ephemeral"}},
    ]
    told = prompt(
        messages=[
            USER,
            {"role": "assistant", "content": answered},
            {"role": "user", "content": [RESULT, text("and?")]},
        ],
        tools=[TOOL],
    ).messages
    assert told[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "where?",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"},
        {"role": "user", "content": "and?"},
    ]


@pytest.mark.parametrize(("content", "becomes"), [(None, ""), ([text("a"), text("b")], "a\nb"), ("a", "a")])
def test_a_result_is_a_text_blocks_or_nothing(content: object, becomes: str) -> None:
    result = {**RESULT, "content": content}
    messages = [USER, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [result]}]
    assert prompt(messages=messages).messages[-1]["content"] == becomes


def test_a_last_word_of_the_assistant_is_continued() -> None:
    told = prompt(messages=[USER, {"role": "assistant", "content": "The answer is ("}])
    assert told.continue_final_message
    assert not prompt().continue_final_message


def test_tools_become_functions() -> None:
    told = prompt(tools=[{**TOOL, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}])
    function = {
        "name": "weather",
        "description": "of a city",
        "parameters": {"type": "object"},
        "strict": True,
    }
    assert told.tools == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("choice", "becomes", "name"),
    [
        (None, ToolChoice.AUTO, None),
        ({"type": "auto"}, ToolChoice.AUTO, None),
        ({"type": "any"}, ToolChoice.REQUIRED, None),
        ({"type": "tool", "name": "weather"}, ToolChoice.NAMED, "weather"),
        ({"type": "none"}, ToolChoice.NONE, None),
    ],
)
def test_a_tool_choice(choice: object, becomes: ToolChoice, name: str | None) -> None:
    told = prompt(tools=[TOOL], tool_choice=choice)
    assert (told.tool_choice, told.tool_name, told.parallel_tool_calls) == (becomes, name, True)


def test_calls_in_parallel_can_be_forbidden() -> None:
    told = prompt(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert not told.parallel_tool_calls


@pytest.mark.parametrize(
    ("thinking", "thinks"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 1024}, True),
    ],
)
def test_a_model_thinks_only_when_asked(thinking: object, thinks: bool) -> None:
    assert prompt(thinking=thinking).template_kwargs == {"enable_thinking": thinks}


def test_effort_and_format_go_to_template_and_grammar() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    told = sent(output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}})
    assert told.constraint is not None
    assert (told.constraint.kind, told.constraint.schema) == (ConstraintKind.JSON_SCHEMA, schema)
    assert isinstance(told.prompt, ChatPrompt)
    assert told.prompt.template_kwargs["reasoning_effort"] == "low"
    assert told.prompt.response_format is not None


def test_sampling_limits_and_stops() -> None:
    told = sent(temperature=0.5, top_p=0.9, top_k=7, min_p=0.2, seed=5, max_tokens=9, stop_sequences=["X"])
    sampling = told.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 7)
    assert (sampling.min_p, sampling.seed) == (0.2, 5)
    assert (told.max_tokens, told.stop) == (9, ["X"])


def test_keep_alive_reaches_the_supervisor() -> None:
    door = Door()
    post(door, keep_alive="10m")
    assert door.inference.keep_alives == [600.0]


def test_what_a_model_stores_holds_where_the_body_says_nothing() -> None:
    defaults = ModelDefaults(system="stored", sampling={"temperature": 0.25}, stop=("S",))
    door = Door(FakeInference(defaults=defaults))
    post(door)
    told = door.inference.requests[0]
    assert isinstance(told.prompt, ChatPrompt)
    assert told.prompt.messages[0] == {"role": "system", "content": "stored"}
    assert (told.sampling.temperature, told.stop, told.max_tokens) == (0.25, ["S"], 16)


def test_the_headers_of_the_queue_hold_here_too() -> None:
    door = Door()
    post(door, {"X-Outpost-Priority": "background"})
    assert door.inference.turns[0].priority == "background"


# ── warnings ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_honoured_body_has_no_warning() -> None:
    fields: dict[str, Any] = {
        "cache_control": {"type": "ephemeral"},
        "service_tier": "auto",
        "tools": [{**TOOL, "strict": True}],
        "thinking": {"type": "adaptive", "display": "summarized"},
    }
    assert warnings(**fields) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"metadata": {"user_id": "u"}}, "metadata.user_id"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.budget_tokens"),
        ({"tools": [{**TOOL, "input_examples": [{}]}]}, "input_examples"),
        ({"store": True}, "store"),
        ({"headers": {"anthropic-beta": "some-beta"}}, "anthropic-beta"),
        ({"headers": {"anthropic-version": "2023-01-01"}}, "anthropic-version"),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [CALL]},
                    {"role": "user", "content": [{**RESULT, "is_error": True}]},
                ]
            },
            "is_error",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, text("a")]},
                    USER,
                ]
            },
            "redacted_thinking",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "any"},
                "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            },
            "output_config.format",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_honoured_is_named(fields: dict[str, Any], named: str) -> None:
    (told,) = warnings(**fields)
    assert named in told


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_both_versions_take_a_temperature(version: str) -> None:
    assert warnings(headers={"anthropic-version": version}, temperature=0.5) == []


def test_a_missing_version_is_told_and_taken() -> None:
    answer = Door().post("/v1/messages", {"model": "fake/model:q4", "max_tokens": 1, "messages": [USER]})
    assert answer.status_code == 200
    assert "anthropic-version" in answer.headers["x-outpost-warning"]
