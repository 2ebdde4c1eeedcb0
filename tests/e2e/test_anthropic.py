"""The `anthropic` client with the starter model: messages, streams, tools, counting, errors, cancel."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import MessageParam, ToolParam

from tests.daemon import STARTER_NAME, Daemon
from tests.e2e.asking import wait_until

RIVERS: list[MessageParam] = [{"role": "user", "content": "Name three rivers."}]
GREEDY = {"temperature": 0}
"""Which the client has no argument for any more."""
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def messages(daemon: Daemon) -> Iterator[anthropic.resources.Messages]:
    with Anthropic(base_url=daemon.url, api_key="none", max_retries=0, timeout=120.0) as client:
        yield client.messages


def test_a_stream_says_the_same_as_a_whole_message(messages: anthropic.resources.Messages) -> None:
    fields = {"model": STARTER_NAME, "max_tokens": 24, "messages": RIVERS, "extra_body": GREEDY}
    whole = messages.create(**fields)  # type: ignore[call-overload]  # a dict hides the literal types
    with messages.stream(**fields) as stream:  # type: ignore[arg-type]
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert whole.content[0].text == text
    assert final.stop_reason == whole.stop_reason
    usage = final.usage
    assert usage.cache_read_input_tokens  # the prefix of the first
    told = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == told


def test_tokens_are_counted_as_they_are_told_afterwards(messages: anthropic.resources.Messages) -> None:
    conversation: list[MessageParam] = [
        *RIVERS,
        {"role": "assistant", "content": "Rhine, Elbe, Oder."},
        {"role": "user", "content": "And the weather at the first?"},
    ]
    counted = messages.count_tokens(
        model=STARTER_NAME, messages=conversation, system="Be brief.", tools=[WEATHER]
    )
    answer = messages.create(
        model=STARTER_NAME, messages=conversation, system="Be brief.", tools=[WEATHER], max_tokens=1
    )
    assert answer.usage.cache_read_input_tokens is not None
    assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert answer.stop_reason in {"max_tokens", "tool_use"}


def test_a_tool_that_must_be_called_is(messages: anthropic.resources.Messages) -> None:
    answer = messages.create(
        model=STARTER_NAME,
        max_tokens=64,
        extra_body=GREEDY,
        messages=[{"role": "user", "content": "What is the weather in Bonn?"}],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather"},
    )
    call = answer.content[-1]
    assert call.type == "tool_use"
    assert call.name == "weather"
    assert isinstance(call.input["city"], str)
    assert answer.stop_reason == "tool_use"


def test_a_stop_sequence_is_named_and_an_answer_can_be_begun_for_the_model(
    messages: anthropic.resources.Messages,
) -> None:
    answer = messages.create(
        model=STARTER_NAME,
        max_tokens=40,
        extra_body=GREEDY,
        stop_sequences=["five"],
        messages=[
            {"role": "user", "content": "Count to ten in words."},
            {"role": "assistant", "content": "one, two, three,"},
        ],
    )
    assert answer.stop_reason == "stop_sequence"
    assert answer.stop_sequence == "five"
    text = answer.content[0]
    assert text.type == "text"
    assert "four" in text.text
    assert "five" not in text.text


def test_a_prompt_that_is_too_long_is_a_bad_request(messages: anthropic.resources.Messages) -> None:
    with pytest.raises(anthropic.BadRequestError, match="tokens per request"):
        messages.create(
            model=STARTER_NAME, max_tokens=1, messages=[{"role": "user", "content": "word " * 9000}]
        )


def test_a_stream_that_is_closed_is_cancelled(messages: anthropic.resources.Messages, daemon: Daemon) -> None:
    with messages.stream(
        model=STARTER_NAME,
        max_tokens=1500,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        extra_body={"ignore_eos": True},
    ) as stream:
        next(iter(stream.text_stream))
    wait_until(lambda: daemon.running_requests() == 0, within_s=5, what="the sequence is freed")
