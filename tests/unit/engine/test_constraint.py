from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.chat_output import make_parser
from appliance.engine.constraint import compile_constraint
from appliance.engine.template_format import ReasoningTags, ToolFormat
from appliance.errors import InvalidRequest
from appliance.wire.messages import ChatPrompt, Constraint, ConstraintKind, ToolChoice
from tests.fakes.grammar_reader import admits, spoken

THINK = ReasoningTags("<think>", "</think>")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 40},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def of_tools(tool_format: ToolFormat, **options: Any) -> str:
    reasoning = options.pop("reasoning", None)
    opened = options.pop("reasoning_open", False)
    chat = ChatPrompt(
        **{"messages": [], "tools": [WEATHER, CLOCK], "tool_choice": ToolChoice.REQUIRED, **options}
    )
    compiled = compile_constraint(None, chat, tool_format, reasoning=reasoning, reasoning_open=opened)
    assert compiled is not None
    assert compiled.calls_tool
    return compiled.gbnf


def test_json_mode_admits_objects_with_little_blank_space() -> None:
    compiled = compile_constraint(Constraint(kind=ConstraintKind.JSON_OBJECT), None)
    assert compiled is not None
    assert admits(compiled.gbnf, '{"a": [1, 2.5, "x"], "b":{}}')
    for text in ("[]", '{"a":  1}', "{ }", '{"a":1}\n'):
        assert not admits(compiled.gbnf, text)


def test_raw_gbnf_passes_as_it_is_when_sound() -> None:
    gbnf = 'root ::= "yes" | "no"'
    compiled = compile_constraint(Constraint(kind=ConstraintKind.GBNF, gbnf=gbnf), None)
    assert compiled is not None
    assert compiled.gbnf == gbnf
    with pytest.raises(InvalidRequest):
        compile_constraint(Constraint(kind=ConstraintKind.GBNF, gbnf="root ::= root"), None)
    with pytest.raises(InvalidRequest):
        compile_constraint(Constraint(kind=ConstraintKind.GBNF), None)


def test_a_free_model_has_no_grammar() -> None:
    assert compile_constraint(None, None) is None
    assert compile_constraint(None, ChatPrompt(messages=[], tools=[WEATHER])) is None
    assert (
        compile_constraint(None, ChatPrompt(messages=[], tools=[WEATHER], tool_choice=ToolChoice.NONE))
        is None
    )


CALLS = {
    ToolFormat.HERMES: '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    ToolFormat.JSON: '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    ToolFormat.LLAMA3: '{"name": "weather", "parameters": {"city": "Rome"}}',
    ToolFormat.MISTRAL: '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Rome"}}]',
    ToolFormat.MISTRAL_ARGS: '[TOOL_CALLS]weather[ARGS]{"city": "Rome"}',
}


@pytest.mark.parametrize("tool_format", ToolFormat)
def test_a_forced_call_has_the_form_of_its_family(tool_format: ToolFormat) -> None:
    gbnf = of_tools(tool_format)
    assert admits(gbnf, CALLS[tool_format])
    assert not admits(gbnf, CALLS[tool_format].replace("weather", "other"))
    assert not admits(gbnf, "It is sunny.")
    assert not admits(gbnf, "")


@pytest.mark.parametrize("tool_format", ToolFormat)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_forced_call_is_always_read_back_as_calls_with_valid_arguments(
    tool_format: ToolFormat, seed: int
) -> None:
    said = spoken(of_tools(tool_format), random.Random(seed))
    if said is None:
        return
    parser = make_parser(tool_format, None, tools_active=True, tool_names=frozenset({"weather", "clock"}))
    fed, last = parser.feed(said), parser.finish()
    assert (fed.text + last.text).strip() == ""
    deltas = fed.tool_calls + last.tool_calls
    for index in range(deltas[-1].index + 1):
        arguments = json.loads("".join(delta.arguments for delta in deltas if delta.index == index))
        name = next(delta.name for delta in deltas if delta.index == index)
        assert arguments == {} if name == "clock" else isinstance(arguments["city"], str)


STRICT = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
TOLD = {
    ToolFormat.HERMES: '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>',
    ToolFormat.JSON: '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>',
    ToolFormat.LLAMA3: '{"name": "%s", "parameters": %s}',
    ToolFormat.MISTRAL: '[TOOL_CALLS][{"name": "%s", "arguments": %s}]',
    ToolFormat.MISTRAL_ARGS: "[TOOL_CALLS]%s[ARGS]%s",
}
each_format = pytest.mark.parametrize("tool_format", ToolFormat)


def of_strict(tool_format: ToolFormat, **options: Any) -> str:
    reasoning = options.pop("reasoning", None)
    chat = ChatPrompt(**{"messages": [], "tools": [STRICT, CLOCK], **options})
    compiled = compile_constraint(None, chat, tool_format, reasoning=reasoning)
    assert compiled is not None
    assert not compiled.calls_tool
    return compiled.gbnf


@each_format
def test_a_strict_function_holds_the_model_that_calls_it_and_leaves_it_free_to_talk(
    tool_format: ToolFormat,
) -> None:
    gbnf = of_strict(tool_format)
    for text in ("", "It is sunny.", "a <tool_cal [TOOL_CALL <|python_ta {} b", "\n\n x"):
        assert admits(gbnf, text), text
    assert admits(gbnf, TOLD[tool_format] % ("weather", '{"city": "Oslo"}'))
    for arguments in ("{}", '{"city": 5}', '{"city": "Oslo", "days": 0}', '"x"'):
        assert not admits(gbnf, TOLD[tool_format] % ("weather", arguments)), arguments
    assert not admits(gbnf, TOLD[tool_format] % ("other", "{}"))


@each_format
def test_a_function_beside_it_that_is_not_strict_takes_any_object(tool_format: ToolFormat) -> None:
    gbnf = of_strict(tool_format)
    assert admits(gbnf, TOLD[tool_format] % ("clock", "{}"))
    assert admits(gbnf, TOLD[tool_format] % ("clock", '{"zone": [1]}'))
    assert not admits(gbnf, TOLD[tool_format] % ("clock", "5"))


def test_a_text_may_come_before_a_call_where_calls_have_a_marker() -> None:
    call = TOLD[ToolFormat.HERMES] % ("weather", '{"city": "Oslo"}')
    for tool_format in (ToolFormat.HERMES, ToolFormat.JSON):
        assert admits(of_strict(tool_format), f"Let me see <tool_{call}")
        assert admits(of_strict(tool_format), f"{call}\n{call}")
        assert not admits(of_strict(tool_format, parallel_tool_calls=False), f"{call}\n{call}")
    assert admits(of_strict(ToolFormat.HERMES, reasoning=THINK), f"<think>hm</think>\n{call}")
    assert admits(of_strict(ToolFormat.HERMES, reasoning=THINK), "<think>hm</think>\nsun")


def test_where_a_call_needs_no_marker_a_brace_begins_one() -> None:
    gbnf = of_strict(ToolFormat.JSON)
    assert admits(gbnf, ' {"name": "weather", "arguments": {"city": "Oslo"}}')
    assert not admits(gbnf, '{"a": 1}')
    assert admits(of_strict(ToolFormat.HERMES), '{"a": 1}')


@each_format
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whatever_a_model_says_beside_strict_functions_its_calls_are_valid(
    tool_format: ToolFormat, seed: int
) -> None:
    said = spoken(of_strict(tool_format), random.Random(seed))
    if said is None:
        return
    parser = make_parser(tool_format, None, tools_active=True, tool_names=frozenset({"weather", "clock"}))
    deltas = parser.feed(said).tool_calls + parser.finish().tool_calls
    for index in {delta.index for delta in deltas}:
        arguments = json.loads("".join(delta.arguments for delta in deltas if delta.index == index))
        name = next(delta.name for delta in deltas if delta.index == index)
        assert name == "clock" or isinstance(arguments["city"], str)


@each_format
@given(text=st.text(alphabet="<[tol_ca>|{ \n", max_size=30))
def test_every_text_without_a_call_can_be_said(tool_format: ToolFormat, text: str) -> None:
    if not text.lstrip().startswith("{") and "<tool_call>" not in text:
        assert admits(of_strict(tool_format), text)


@pytest.mark.parametrize("choice", [ToolChoice.NONE, ToolChoice.AUTO])
def test_without_a_strict_function_that_may_be_called_the_model_is_free(choice: ToolChoice) -> None:
    tools = [WEATHER] if choice is ToolChoice.AUTO else [STRICT]
    chat = ChatPrompt(messages=[], tools=tools, tool_choice=choice)
    assert compile_constraint(None, chat, ToolFormat.HERMES) is None


def test_parallel_calls_only_where_they_are_wanted() -> None:
    call = CALLS[ToolFormat.HERMES]
    assert admits(of_tools(ToolFormat.HERMES), f"{call}\n{call}")
    assert not admits(of_tools(ToolFormat.HERMES, parallel_tool_calls=False), f"{call}\n{call}")
    named = of_tools(ToolFormat.HERMES, tool_choice=ToolChoice.NAMED, tool_name="weather")
    assert admits(named, call)
    assert not admits(named, f"{call}\n{call}")
    assert not admits(named, '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>')


def test_reasoning_may_come_before_a_forced_call() -> None:
    call = CALLS[ToolFormat.HERMES]
    free = of_tools(ToolFormat.HERMES, reasoning=THINK)
    assert admits(free, call)
    assert admits(free, f"<think>a < b, </thin<</think>\n\n{call}")
    opened = of_tools(ToolFormat.HERMES, reasoning=THINK, reasoning_open=True)
    assert admits(opened, f"so what</think>{call}")
    assert not admits(opened, call)
    assert not admits(
        of_tools(ToolFormat.HERMES, reasoning=THINK, parse_reasoning=False), f"<think></think>{call}"
    )


def test_a_schema_and_free_tools_admit_either() -> None:
    constraint = Constraint(kind=ConstraintKind.JSON_SCHEMA, schema={"type": "boolean"})
    compiled = compile_constraint(constraint, ChatPrompt(messages=[], tools=[WEATHER]), ToolFormat.HERMES)
    assert compiled is not None
    assert not compiled.calls_tool
    assert admits(compiled.gbnf, "true")
    assert admits(compiled.gbnf, CALLS[ToolFormat.HERMES])


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (ChatPrompt(messages=[], tool_choice=ToolChoice.REQUIRED), "tool_choice"),
        (ChatPrompt(messages=[], tools=[CLOCK], tool_choice=ToolChoice.NAMED, tool_name="x"), "tool_choice"),
        (
            ChatPrompt(
                messages=[], tools=[CLOCK], tool_choice=ToolChoice.REQUIRED, continue_final_message=True
            ),
            "tool_choice",
        ),
        (
            ChatPrompt(messages=[], tools=[{"function": {}}], tool_choice=ToolChoice.REQUIRED),
            "tools[0].function.name",
        ),
        (
            ChatPrompt(
                messages=[],
                tools=[CLOCK, {"function": {"name": "f", "parameters": {"type": "array"}}}],
                tool_choice=ToolChoice.REQUIRED,
            ),
            "tools[1].function.parameters.type",
        ),
        (
            ChatPrompt(
                messages=[],
                tools=[{"function": {"name": "f", "parameters": {"properties": {"a": {"not": {}}}}}}],
                tool_choice=ToolChoice.REQUIRED,
            ),
            "tools[0].function.parameters.properties.a.not",
        ),
    ],
)
def test_a_call_that_cannot_be_forced_is_refused(chat: ChatPrompt, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        compile_constraint(None, chat)
    assert refused.value.param == param


def test_a_grammar_and_a_forced_call_exclude_each_other() -> None:
    chat = ChatPrompt(messages=[], tools=[CLOCK], tool_choice=ToolChoice.REQUIRED)
    with pytest.raises(InvalidRequest):
        compile_constraint(Constraint(kind=ConstraintKind.GBNF, gbnf='root ::= "a"'), chat)
