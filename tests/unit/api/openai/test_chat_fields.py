"""/v1/chat/completions: what each field becomes, and which are refused, ignored or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.wire.messages import AdapterScale, ChatPrompt, Generate, LogitBias
from tests.unit.api.door import Door, refusal
from tests.unit.api.openai.asked import sent

# ── sampling and limits ─────────────────────────────────────────────────────────────────────────────────────


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


# ── refused, ignored, unknown ───────────────────────────────────────────────────────────────────────────────


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
