"""Answers that must have a form: tools, JSON schema, JSON mode, grammars; and forms that are attacks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from openai import APIError, BadRequestError, OpenAI

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, stream_chat, text_of

_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
}
_CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time now",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string", "maxLength": 12}}},
    },
}


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "asked", "schema": schema}}


def _check_weather(arguments: str) -> None:
    told = json.loads(arguments)
    assert set(told) == {"city", "unit", "days"}
    assert isinstance(told["city"], str) and len(told["city"]) <= 20
    assert told["unit"] in {"celsius", "fahrenheit"}
    assert isinstance(told["days"], int) and 1 <= told["days"] <= 7


def test_a_required_tool_is_called_with_valid_arguments(client: OpenAI) -> None:
    answer = chat(client, "Weather in Oslo?", tools=[_WEATHER], tool_choice="required", max_tokens=120)
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].id and calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    _check_weather(calls[0].function.arguments)


def test_a_named_tool_is_the_one_that_is_called(client: OpenAI) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = chat(client, "What time is it?", tools=[_CLOCK, _WEATHER], tool_choice=choice, max_tokens=120)
    calls = answer.choices[0].message.tool_calls
    assert calls and [call.function.name for call in calls if call.type == "function"] == ["get_weather"]
    assert calls[0].type == "function"
    _check_weather(calls[0].function.arguments)


def test_a_streamed_call_comes_in_deltas_that_add_up(client: OpenAI) -> None:
    fields = {"tools": [_WEATHER], "tool_choice": "required", "max_tokens": 120}
    chunks = stream_chat(client, "Weather in Oslo?", **fields)
    deltas = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function is not None
    ]
    assert deltas[0].id and deltas[0].function is not None
    assert deltas[0].function.name == "get_weather"
    first_call = [delta for delta in deltas if delta.index == 0]
    _check_weather("".join(delta.function.arguments or "" for delta in first_call if delta.function))
    assert len(first_call) > 2


def test_no_tool_is_called_when_none_may_be(client: OpenAI) -> None:
    answer = chat(client, "Weather in Oslo?", tools=[_WEATHER], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert text_of(answer)


def test_a_json_schema_holds(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 16},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    }
    named = {"name": "person", "schema": schema, "strict": True}
    answer = chat(
        client,
        "Describe a person.",
        response_format={"type": "json_schema", "json_schema": named},
        max_tokens=120,
    )
    told = json.loads(text_of(answer))
    assert set(told) == {"name", "age", "tags"}
    assert 0 <= told["age"] <= 120
    assert 1 <= len(told["tags"]) <= 3 and set(told["tags"]) <= {"a", "b"}
    assert answer.choices[0].finish_reason == "stop"


def test_json_mode_gives_an_object(client: OpenAI) -> None:
    text = 'Answer with {"capital": "..."} for France.'
    answer = chat(client, text, response_format={"type": "json_object"}, max_tokens=200)
    assert answer.choices[0].finish_reason == "stop", text_of(answer)
    assert isinstance(json.loads(text_of(answer)), dict)


def test_a_grammar_holds(client: OpenAI) -> None:
    grammar = 'root ::= ("yes" | "no") "!"'
    assert text_of(chat(client, "Is rain wet?", extra_body={"grammar": grammar})) in {"yes!", "no!"}


_HOSTILE_GRAMMARS = {
    "not a grammar": "root ::= (",
    "no root": 'other ::= "a"',
    "undefined rule": "root ::= missing",
    "left recursion": 'root ::= root "a" | "b"',
    "mutual left recursion": 'root ::= a\na ::= b "x"\nb ::= a "y" | "z"',
    "repetition over the limit": 'root ::= "a"{1,100000}',
    "repetition of repetition": 'root ::= ((("a"{1,100}){1,100}){1,100}){1,100}',
    "deep parentheses": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000,
    "many alternatives": "root ::= " + "|".join(['"a"'] * 5000),
    "empty loop": 'root ::= ("")* "a"',
    "doubling among decoys": 'root ::= b\nb ::= "x" b "y" | "x" b "z" | "w"\n'
    + "".join(f'd{n} ::= "q" d{n} "y" | "w"\n' for n in range(50)),
    "doubling every sixteen": f'root ::= b\nb ::= "{"x" * 16}" b "y" | "{"x" * 16}" b "z" | "w"',
    "doubling after a long beginning": f'root ::= "{"a" * 70}" b\nb ::= "x" b "y" | "x" b "z" | "w"',
    "more options than a place may have": "root ::= " + " ".join(['"x"?'] * 2_100),
}


@pytest.mark.parametrize("name", _HOSTILE_GRAMMARS)
def test_a_hostile_grammar_is_refused_at_once(client: OpenAI, daemon: Daemon, name: str) -> None:
    chat(client, "Hello", max_tokens=1)
    runners = {runner.pid for runner in daemon.runners()}
    begun = time.monotonic()
    with pytest.raises(BadRequestError) as caught:
        chat(client, "Hello", extra_body={"grammar": _HOSTILE_GRAMMARS[name]})
    assert time.monotonic() - begun < 2.0
    assert caught.value.param == "grammar"
    assert {runner.pid for runner in daemon.runners()} == runners


def test_a_pattern_of_nested_repetitions_holds_and_costs_nothing(client: OpenAI) -> None:
    named = {"name": "letters", "schema": {"type": "string", "pattern": "^((a+)+)+$"}}
    begun = time.monotonic()
    answer = chat(
        client, "Say a.", response_format={"type": "json_schema", "json_schema": named}, max_tokens=40
    )
    assert set(text_of(answer).strip('"')) == {"a"}
    assert time.monotonic() - begun < 10.0


_ENDLESS_WAYS: dict[str, dict[str, Any]] = {
    "stars": {"response_format": _named({"type": "string", "pattern": "^" + "[a-z]*" * 42 + "$"})},
    "stars of one letter": {"grammar": "root ::= " + " ".join(['"x"*'] * 900) + ' "y"'},
    "enum": {"response_format": _named({"enum": [f"value {number}" for number in range(1_000)]})},
    "what came before": {"grammar": 'root ::= .* [a-m] .{14} "!"'},
}


@pytest.mark.parametrize("name", _ENDLESS_WAYS)
def test_what_can_be_read_in_endless_ways_costs_others_nothing(
    client: OpenAI, daemon: Daemon, name: str
) -> None:
    chat(client, "Hello", max_tokens=1)
    runners = {runner.pid for runner in daemon.runners()}
    arrivals: list[float] = []

    def read() -> None:
        stream = client.chat.completions.create(
            model=STARTER_NAME,
            messages=[{"role": "user", "content": "Tell a long story."}],
            max_tokens=200,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        arrivals.extend(time.monotonic() for _ in stream)

    reader = threading.Thread(target=read)
    reader.start()
    begun = time.monotonic()
    while reader.is_alive():
        with suppress(BadRequestError):
            chat(client, "Hello", max_tokens=10, extra_body=_ENDLESS_WAYS[name])
    reader.join()
    assert time.monotonic() - begun < 60
    assert len(arrivals) > 100
    assert max(after - before for before, after in pairwise(arrivals)) < 2.5
    assert {runner.pid for runner in daemon.runners()} == runners


_X45 = "x" * 45
_LATE: dict[str, tuple[str, str]] = {
    "doubling in long steps": (f'root ::= b\nb ::= "{_X45}" b "y" | "{_X45}" b "z"', "too costly"),
    "leading nowhere": ('root ::= "ok" [\\U0000D800-\\U0000DFFF]', "leads nowhere"),
}


@pytest.mark.parametrize("ask", [chat, stream_chat])
@pytest.mark.parametrize("name", _LATE)
def test_a_grammar_that_fails_in_the_middle_of_an_answer_ends_it_with_an_error(
    client: OpenAI, daemon: Daemon, name: str, ask: Callable[..., object]
) -> None:
    chat(client, "Hello", max_tokens=1)
    runners = {runner.pid for runner in daemon.runners()}
    gbnf, reason = _LATE[name]
    with pytest.raises(APIError, match=reason) as caught:
        ask(client, "Hello", max_tokens=1_000, extra_body={"grammar": gbnf})
    assert caught.value.param == "grammar"
    assert isinstance(caught.value, BadRequestError) or ask is stream_chat
    assert {runner.pid for runner in daemon.runners()} == runners


def test_a_token_named_after_its_own_letters_does_not_end_the_runner(client: OpenAI, daemon: Daemon) -> None:
    """llama.cpp's sampler lets it through and then aborts."""
    chat(client, "Hello", max_tokens=1)
    runners = {runner.pid for runner in daemon.runners()}
    number = client.with_options(base_url=daemon.url).post(
        "/tokenize", body={"model": STARTER_NAME, "content": "hello"}, cast_to=dict[str, Any]
    )["tokens"][0]
    answer = chat(client, "Say hello.", max_tokens=10, extra_body={"grammar": f'root ::= "h" <[{number}]>'})
    assert text_of(answer) == "hhello"
    assert {runner.pid for runner in daemon.runners()} == runners


_HOSTILE_SCHEMAS: dict[str, dict[str, Any]] = {
    "reference cycle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "remote reference": {"$ref": "http://127.0.0.1:1/schema.json"},
    "dangling reference": {"$ref": "#/$defs/nowhere"},
    "huge enum": {"enum": [f"value {number}" for number in range(100_000)]},
    "length bomb": {"type": "string", "minLength": 2_000_000_000},
    "unknown type": {"type": "teapot"},
}


@pytest.mark.parametrize("name", _HOSTILE_SCHEMAS)
def test_a_hostile_schema_is_refused_at_once(client: OpenAI, daemon: Daemon, name: str) -> None:
    chat(client, "Hello", max_tokens=1)
    runners = {runner.pid for runner in daemon.runners()}
    named = {"name": "hostile", "schema": _HOSTILE_SCHEMAS[name]}
    begun = time.monotonic()
    with pytest.raises(BadRequestError):
        chat(client, "Hello", response_format={"type": "json_schema", "json_schema": named})
    assert time.monotonic() - begun < 2.0
    assert {runner.pid for runner in daemon.runners()} == runners
