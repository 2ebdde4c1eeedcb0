"""/v1/chat/completions: what each field becomes, and the two forms of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import (
    AdapterScale,
    ChatPrompt,
    ConstraintKind,
    Delta,
    FinishReason,
    Generate,
    LogitBias,
    TokenAlternative,
    TokenLogprob,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from tests.fakes.fake_inference import FakeInference, Line, text_of
from tests.unit.api.door import Door, events_of, refusal

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OTHER_TOOL = {"type": "function", "function": {"name": "clock"}}
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2, reasoning_tokens=1, decode_s=0.5)


def sent(**fields: Any) -> Generate:
    """What a chat with `fields` asks of the runner."""
    door = Door()
    answer = door.chat(**fields)
    assert answer.status_code == 200, answer.text
    return door.inference.requests[0]


def prompt(**fields: Any) -> ChatPrompt:
    told = sent(**fields).prompt
    assert isinstance(told, ChatPrompt)
    return told


def scripted(*lines: Line) -> Door:
    return Door(FakeInference(script=lambda _: lines))


# ── sampling and limits
# ────────────────────────────────────────────────────────────────────────────────────────────


def test_without_fields_the_defaults_are_the_engines() -> None:
    assert sent() == Generate(id=0, prompt=ChatPrompt(messages=[{"role": "user", "content": "hi"}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("dynatemp_range", 0.5),
        ("dynatemp_exponent", 2.0),
        ("top_k", 7),
        ("top_p", 0.5),
        ("min_p", 0.1),
        ("typical_p", 0.9),
        ("top_n_sigma", 1.5),
        ("xtc_probability", 0.5),
        ("xtc_threshold", 0.2),
        ("dry_multiplier", 0.8),
        ("dry_base", 2.0),
        ("dry_allowed_length", 3),
        ("dry_penalty_last_n", 64),
        ("dry_sequence_breakers", ["\n"]),
        ("mirostat", 2),
        ("mirostat_tau", 4.0),
        ("mirostat_eta", 0.2),
        ("repeat_penalty", 1.1),
        ("repeat_last_n", -1),
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("ignore_eos", True),
    ],
)
def test_a_sampling_field_reaches_the_engine(field: str, value: object) -> None:
    assert getattr(sent(**{field: value}).sampling, field) == value


@pytest.mark.parametrize(("seed", "means"), [(7, 7), (-1, None), (2**40 + 5, 5), (-2, 2**31 - 2)])
def test_a_seed_is_folded_into_what_llama_cpp_takes(seed: int, means: int | None) -> None:
    assert sent(seed=seed).sampling.seed == means


def test_logit_bias_is_by_token() -> None:
    assert sent(logit_bias={"5": -100, "6": 1.5}).sampling.logit_bias == [
        LogitBias(5, -100.0),
        LogitBias(6, 1.5),
    ]


def test_max_completion_tokens_wins_over_max_tokens() -> None:
    assert sent(max_tokens=5).max_tokens == 5
    assert sent(max_tokens=5, max_completion_tokens=6).max_tokens == 6
    assert sent(max_tokens=-1).max_tokens is None


def test_stop_is_a_string_or_a_list() -> None:
    assert sent(stop="a").stop == ["a"]
    assert sent(stop=["a", "b"]).stop == ["a", "b"]


def test_the_rest_of_the_switches_reach_the_engine() -> None:
    told = sent(
        n=2, cache_prompt=False, prefix_shared=True, speculation=False, lora=[{"name": "a", "scale": 0.5}]
    )
    assert (told.n, told.cache_prompt, told.shared_prefix, told.speculation) == (2, False, True, False)
    assert told.adapters == [AdapterScale("a", 0.5)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e308}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": 2**40}, "top_k"),
        ({"mirostat": 3}, "mirostat"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"max_completion_tokens": -2}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a" * 1025]}, "stop"),
        ({"stop": [1]}, "stop.0"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {str(key): 1 for key in range(1025)}}, "logit_bias"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"lora": [{"scale": 1}]}, "lora.0.name"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [5]}, "messages.0"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "user", "content": "x"}] * 4097}, "messages"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"x": "y" * 20_000}}, "chat_template_kwargs"),
    ],
)
def test_a_wrong_value_is_400_with_the_path_of_the_field(fields: dict[str, Any], param: str) -> None:
    assert refusal(Door().chat(**fields)) == (400, param, "invalid_value")


def test_stream_options_without_stream_are_refused() -> None:
    assert refusal(Door().chat(stream_options={"include_usage": True}))[0] == 400


# ── refused, ignored, unknown
# ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"audio": {}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"messages": [{"role": "user", "content": "x", "y": 1}]}, "messages.0.y"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
                ]
            },
            "messages.0.content.0.type",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "b": 1}]}]},
            "messages.0.content.0.b",
        ),
    ],
)
def test_what_is_not_honoured_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(Door().chat(**fields)) == (400, param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "me"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "flex"),
        ("verbosity", "low"),
        ("prediction", {"type": "content", "content": "x"}),
        ("safety_identifier", "x"),
        ("prompt_cache_key", "x"),
    ],
)
def test_a_field_that_changes_nothing_is_named_in_a_warning(field: str, value: object) -> None:
    answer = Door().chat(None, **{field: value})
    assert answer.status_code == 200
    assert answer.headers["x-outpost-warning"] == f"'{field}' is ignored"


@pytest.mark.parametrize(
    ("field", "value"), [("store", False), ("user", None), ("service_tier", "auto"), ("functions", None)]
)
def test_a_field_that_asks_for_nothing_needs_no_warning(field: str, value: object) -> None:
    answer = Door().chat(None, **{field: value})
    assert answer.status_code == 200
    assert "x-outpost-warning" not in answer.headers


def test_a_warning_goes_out_with_a_stream_too() -> None:
    assert Door().chat(user="me", stream=True).headers["x-outpost-warning"] == "'user' is ignored"


# ── messages
# ───────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── tools
# ──────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── response format
# ────────────────────────────────────────────────────────────────────────────────────────────────


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"response_format": {"type": "json_object"}}, ConstraintKind.JSON_OBJECT),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, ConstraintKind.JSON_SCHEMA),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
            ConstraintKind.JSON_SCHEMA,
        ),
        ({"json_schema": SCHEMA}, ConstraintKind.JSON_SCHEMA),
        ({"grammar": 'root ::= "a"'}, ConstraintKind.GBNF),
    ],
)
def test_each_form_of_constraint_reaches_the_engine(fields: dict[str, Any], kind: ConstraintKind) -> None:
    constraint = sent(**fields).constraint
    assert constraint is not None
    assert constraint.kind is kind
    assert constraint.schema == (SCHEMA if kind is ConstraintKind.JSON_SCHEMA else None)


def test_text_is_no_constraint() -> None:
    assert sent(response_format={"type": "text"}).constraint is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= x"}, "response_format"),
        ({"json_schema": SCHEMA, "grammar": "root ::= x"}, "grammar"),
        ({"json_schema": {"$ref": "http://evil/x"}}, "json_schema"),
        ({"json_schema": {"pattern": "a" * 257}}, "json_schema"),
        ({"json_schema": {"a": "x" * 70_000}}, "json_schema"),
        ({"json_schema": {"anyOf": [{}] * 1001}}, "json_schema"),
        ({"grammar": "x" * 20_000}, "grammar"),
    ],
)
def test_a_wrong_constraint_is_400_with_its_path(fields: dict[str, Any], param: str) -> None:
    assert refusal(Door().chat(**fields)) == (400, param, "invalid_value")


def test_raw_grammars_can_be_switched_off() -> None:
    from appliance.api.calls import Limits

    answer = Door(limits=Limits(raw_grammar=False)).chat(grammar='root ::= "a"')
    assert refusal(answer) == (400, "grammar", "unsupported_parameter")


# ── answers
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_answer_has_every_key_of_openais() -> None:
    told = Door().chat().json
    assert told["id"].startswith("chatcmpl-")
    assert told["object"] == "chat.completion"
    assert told["system_fingerprint"].startswith("fp_")
    assert told["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert told["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert told["timings"]["prompt_n"] == 4
    assert told["timings"]["predicted_per_second"] == 4.0


def test_a_stream_is_role_text_end_and_done() -> None:
    answer = Door().chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = events_of(answer)
    assert [event["choices"][0]["delta"] for event in events[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None, None, None, "stop"]
    assert len({event["id"] for event in events[:-1]}) == 1
    assert all("usage" not in event for event in events[:-1])
    assert events[-2]["timings"]["predicted_n"] == 2
    assert events[-1] == "[DONE]"


def test_include_usage_is_null_until_one_last_chunk_without_choices() -> None:
    events = events_of(Door().chat(stream=True, stream_options={"include_usage": True}))
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] == 9


def test_two_choices_are_told_apart_by_their_index() -> None:
    told = Door().chat(n=2).json
    assert [(choice["index"], choice["message"]["content"]) for choice in told["choices"]] == [
        (0, "Hello"),
        (1, "Hello"),
    ]
    events = events_of(Door().chat(n=2, stream=True))
    text = {0: "", 1: ""}
    for event in events[:-1]:
        text[event["choices"][0]["index"]] += event["choices"][0]["delta"].get("content", "")
    assert text == {0: "Hello", 1: "Hello"}


def test_text_and_finish_in_one_delta_are_two_chunks() -> None:
    last = Delta(id=1, choice=0, text="end", tokens=1, finish_reason=FinishReason.LENGTH, usage=USAGE)
    events = events_of(scripted(last).chat(stream=True))
    assert events[1]["choices"][0] == {
        "index": 0,
        "delta": {"content": "end"},
        "logprobs": None,
        "finish_reason": None,
    }
    assert events[2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}


TOOL_LINES = (
    Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"a":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, "1}")]),
    Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.TOOL_CALLS, usage=USAGE),
)


def test_tool_calls_and_reasoning_are_streamed_as_deltas() -> None:
    events = events_of(scripted(*TOOL_LINES).chat(stream=True, tools=[TOOL]))
    deltas = [event["choices"][0]["delta"] for event in events[1:-1]]
    assert deltas[0] == {"reasoning_content": "hm", "reasoning": "hm"}
    assert deltas[1]["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    ]
    assert deltas[2]["tool_calls"] == [{"index": 0, "function": {"arguments": '{"a":'}}]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_calls_and_reasoning_are_put_together_in_a_whole_answer() -> None:
    told = scripted(*TOOL_LINES).chat(tools=[TOOL]).json
    message = told["choices"][0]["message"]
    assert message["content"] is None
    assert message["reasoning_content"] == "hm"
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    ]
    assert told["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}


def test_logprobs_keep_the_bytes_of_half_a_character() -> None:
    half = TokenLogprob(5, b"\xf0\x9f", -0.5, [TokenAlternative(6, b"a", float("-inf"))])
    lines = (
        Delta(id=1, choice=0, text="", tokens=1, logprobs=[half]),
        Delta(id=1, choice=0, text="x", tokens=1, finish_reason=FinishReason.STOP, usage=USAGE),
    )
    expected = {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [240, 159],
        "top_logprobs": [{"token": "a", "logprob": -9999.0, "bytes": [97]}],
    }
    whole = scripted(*lines).chat(logprobs=True, top_logprobs=1).json
    assert whole["choices"][0]["logprobs"] == {"content": [expected], "refusal": None}
    stream = events_of(scripted(*lines).chat(logprobs=True, stream=True))
    assert stream[1]["choices"][0]["logprobs"] == {"content": [expected], "refusal": None}
    assert stream[1]["choices"][0]["delta"] == {}


def test_logprobs_asked_for_reach_the_engine() -> None:
    assert sent(logprobs=True, top_logprobs=3).top_logprobs == 3
    assert sent(logprobs=True).top_logprobs == 0
    assert sent(logprobs=False).top_logprobs is None


def test_text_of_any_kind_survives_a_stream() -> None:
    text = 'a"b\\c\n\n\r\u2028\x00\U0001f600: data'
    door = Door(FakeInference(script=lambda _: text_of(text)))
    assert events_of(door.chat(stream=True))[1]["choices"][0]["delta"]["content"] == text


def test_a_cancelled_generation_that_still_has_a_reader_is_a_fault() -> None:
    line = Delta(id=1, choice=0, text="", tokens=0, finish_reason=FinishReason.CANCELLED, usage=USAGE)
    assert refusal(scripted(line).chat())[2] == "engine_fault"
    assert events_of(scripted(line).chat(stream=True))[-1]["error"]["code"] == "engine_fault"


def test_the_lease_is_given_back_in_either_form() -> None:
    door = Door()
    door.chat()
    door.chat(stream=True)
    assert [generation.is_closed for generation in door.inference.generations] == [True, True]
