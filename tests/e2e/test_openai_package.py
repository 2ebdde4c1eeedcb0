"""The `openai` package as its users use it: helpers that parse, responses and their memory, embeddings, and
hanging up. Chat in detail is in `test_answers.py` and `test_constrained.py`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI, pydantic_function_tool
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel, Field

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import chat, text_of, wait_until

pytestmark = pytest.mark.e2e

_RIVERS = "Name three rivers."


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


_WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": Weather.model_json_schema(),
    "strict": True,
}


def respond(client: OpenAI, told: Any, **fields: Any) -> Response:
    answer: Response = client.responses.create(**_body(told, fields))
    return answer


def _body(told: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": STARTER_NAME, "input": told, "temperature": 0, "max_output_tokens": 24, **fields}


# ── responses ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_response_says_what_a_chat_says(client: OpenAI) -> None:
    told = respond(client, "Hello", max_output_tokens=48)
    assert told.status == "completed"
    assert told.output_text == text_of(chat(client, "Hello", max_tokens=48))
    assert told.usage is not None
    assert told.usage.total_tokens == told.usage.input_tokens + told.usage.output_tokens


def test_a_stream_says_the_same_and_ends_once(client: OpenAI) -> None:
    with client.responses.stream(**_body("Hello", {"max_output_tokens": 48})) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert [event.type for event in events].count("response.completed") == 1
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 5
    assert "".join(deltas) == final.output_text == respond(client, "Hello", max_output_tokens=48).output_text


def test_a_response_cut_at_its_length_is_incomplete(client: OpenAI) -> None:
    told = respond(client, _RIVERS, max_output_tokens=3)
    assert told.status == "incomplete"
    assert told.incomplete_details is not None
    assert told.incomplete_details.reason == "max_output_tokens"


def test_a_conversation_goes_on_by_id_and_its_prefix_is_reused(client: OpenAI) -> None:
    first = respond(client, "My cat is called Mimi. Remember that.", instructions="You are brief.")
    second = respond(client, "What is my cat called?", previous_response_id=first.id)
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert [getattr(item, "role", None) for item in items] == ["user", "assistant", "user"]
    third = respond(client, "Thanks.", previous_response_id=second.id)
    assert third.usage is not None
    assert third.usage.input_tokens_details.cached_tokens >= second.usage.input_tokens // 2
    whole = chat(
        client,
        "",
        messages=[
            {"role": "user", "content": "My cat is called Mimi. Remember that."},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "What is my cat called?"},
        ],
    )
    assert second.output_text == text_of(whole)


def test_what_is_kept_is_found_until_it_is_deleted(client: OpenAI) -> None:
    told = respond(client, "Hello", max_output_tokens=4)
    assert client.responses.retrieve(told.id).output_text == told.output_text
    client.responses.delete(told.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(told.id)
    hidden = respond(client, "Hello", max_output_tokens=4, store=False)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(hidden.id)


def test_a_required_function_is_called_and_its_output_taken(client: OpenAI) -> None:
    first = respond(
        client, "Weather in Oslo?", tools=[_WEATHER], tool_choice="required", max_output_tokens=60
    )
    call = first.output[0]
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.name == "get_weather"
    Weather.model_validate_json(call.arguments)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    fields: dict[str, Any] = {"tools": [_WEATHER], "tool_choice": "none", "max_output_tokens": 8}
    assert respond(client, [output], previous_response_id=first.id, **fields).output_text
    assert respond(client, [{"role": "user", "content": "Weather?"}, call, output], **fields).output_text


def test_a_streamed_call_comes_in_deltas_that_add_up(client: OpenAI) -> None:
    fields = {
        "tools": [_WEATHER],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_output_tokens": 60,
    }
    with client.responses.stream(**_body("Weather in Oslo?", fields)) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert len(deltas) > 1
    assert ["".join(deltas)] == [event.arguments for event in done]
    Weather.model_validate_json(done[0].arguments)


def test_a_response_is_parsed(client: OpenAI) -> None:
    told = client.responses.parse(
        model=STARTER_NAME, input="Weather in Oslo in celsius", text_format=Weather, temperature=0
    )
    assert told.output_parsed is not None
    assert told.output_parsed.unit in {"celsius", "fahrenheit"}


def test_logprobs_of_a_response_are_those_of_its_text(client: OpenAI) -> None:
    told = respond(
        client,
        _RIVERS,
        max_output_tokens=5,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    message = told.output[0]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text" and part.logprobs is not None
    assert b"".join(bytes(one.bytes) for one in part.logprobs).decode().startswith(part.text)
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)


def test_a_stream_that_is_closed_ends_the_work(daemon: Daemon, client: OpenAI) -> None:
    fields = {"max_output_tokens": 1500, "stream": True, "extra_body": {"ignore_eos": True}}
    with client.responses.create(**_body("Tell me a story.", fields)) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    wait_until(lambda: daemon.running_requests() == 0, within_s=5, what="the request ended")


def test_what_is_wrong_is_told_by_the_names_of_this_api(client: OpenAI) -> None:
    told = {"type": "json_schema", "name": "x", "schema": {"type": "string", "pattern": "("}}
    with pytest.raises(BadRequestError) as raised:
        respond(client, _RIVERS, text={"format": told})
    assert raised.value.param == "text.format.schema.pattern"
    with pytest.raises(BadRequestError) as raised:
        respond(client, "word " * 5000)
    assert raised.value.code == "context_length_exceeded"


# ── chat's helpers ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_chat_is_parsed(client: OpenAI) -> None:
    told = client.chat.completions.parse(
        model=STARTER_NAME,
        messages=[{"role": "user", "content": "Weather in Oslo in celsius"}],
        response_format=Weather,
        temperature=0,
    )
    assert isinstance(told.choices[0].message.parsed, Weather)


def test_the_arguments_of_a_tool_are_parsed(client: OpenAI) -> None:
    told = client.chat.completions.parse(
        model=STARTER_NAME,
        messages=[{"role": "developer", "content": "Use tools."}, {"role": "user", "content": "Weather?"}],
        tools=[pydantic_function_tool(Weather)],
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=120,
        temperature=0,
    )
    calls = told.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Weather)


def test_a_strict_function_holds_a_model_that_is_free_to_call_it(daemon: Daemon, client: OpenAI) -> None:
    """A bias makes it begin a call; without the grammar it would say nothing but braces."""
    asked = {"model": STARTER_NAME, "content": "{"}
    (brace,) = httpx.post(f"{daemon.url}/tokenize", json=asked, timeout=60).json()["tokens"]
    fields: dict[str, Any] = {
        "tools": [pydantic_function_tool(Weather)],
        "logit_bias": {str(brace): 100},
        "max_tokens": 100,
    }
    answer = chat(client, "Weather in Oslo?", **fields)
    calls = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls and calls[0].type == "function"
    Weather.model_validate_json(calls[0].function.arguments)
    said = chat(client, "Weather in Oslo?", **{**fields, "logit_bias": None})
    assert text_of(said)
    assert not said.choices[0].message.tool_calls


# ── completions, embeddings, infill ─────────────────────────────────────────────────────────────────────────


def test_the_best_of_three_is_the_likeliest(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": STARTER_NAME, "prompt": "The sky is", "max_tokens": 6, "seed": 5}
    made = client.completions.create(**fields, n=3, logprobs=0, temperature=1.5)
    best = client.completions.create(**fields, best_of=3, logprobs=0, temperature=1.5)

    def likelihood(choice: Any) -> float:
        logprobs: list[float] = choice.logprobs.token_logprobs
        return sum(logprobs) / len(logprobs)

    assert best.choices[0].text == max(made.choices, key=likelihood).text


def test_embeddings_are_cut_to_length_one(client: OpenAI) -> None:
    whole = client.embeddings.create(model="tiny-embed", input="hello").data[0].embedding
    cut = client.embeddings.create(model="tiny-embed", input="hello", dimensions=8).data[0].embedding
    assert len(cut) == 8
    assert math.hypot(*cut) == pytest.approx(1, abs=1e-5)
    length = math.hypot(*whole[:8])
    assert cut == pytest.approx([number / length for number in whole[:8]], abs=1e-5)


def test_a_gap_is_filled_where_the_model_has_the_tokens(daemon: Daemon, client: OpenAI) -> None:
    body = {"input_prefix": "def f(", "input_suffix": "): pass", "n_predict": 4, "temperature": 0}
    told = httpx.post(f"{daemon.url}/infill", json={**body, "model": "tiny-infill"}, timeout=60).json()
    assert told["tokens_predicted"] == 4
    assert told["stop_type"] == "limit"
    text = client.completions.create(
        model="tiny-infill", prompt="def f(", suffix="): pass", max_tokens=4, temperature=0
    )
    assert text.choices[0].text == told["content"]
    refused = httpx.post(f"{daemon.url}/infill", json={**body, "model": STARTER_NAME}, timeout=60)
    assert refused.status_code == 400
    assert json.loads(refused.text)["error"]["param"] == "input_suffix"
