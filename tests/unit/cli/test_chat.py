from __future__ import annotations

import pytest

from appliance.cli.chat import (
    Piece,
    Place,
    Prefill,
    Reply,
    Settings,
    Timings,
    ToolCall,
    Usage,
    piece_of,
    place_of,
    prefill_of,
    user_message,
)


def test_the_body_has_only_what_was_set() -> None:
    assert Settings(model="m").body([{"role": "user", "content": "hi"}]) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_body_has_all_that_was_set() -> None:
    settings = Settings(
        model="m", system="S", parameters={"seed": 1}, response_format={"type": "json_object"}, think=True
    )
    body = settings.body([])
    assert body["messages"] == [{"role": "system", "content": "S"}]
    assert body["seed"] == 1
    assert body["response_format"] == {"type": "json_object"}
    assert body["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_chunk_is_read_whole() -> None:
    chunk = {
        "model": "m",
        "choices": [
            {
                "delta": {
                    "content": "a",
                    "reasoning_content": "b",
                    "tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "{"}}],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    assert piece_of(chunk) == Piece(
        text="a",
        reasoning="b",
        tool_calls=(ToolCall(index=1, name="f", arguments="{"),),
        finish_reason="stop",
        usage=Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=3, reasoning_tokens=1),
        model="m",
    )


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": []},
        {"choices": None, "usage": None},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": None}}]},
    ],
)
def test_a_chunk_may_leave_everything_out(chunk: dict[str, object]) -> None:
    assert piece_of(chunk) == Piece()


@pytest.mark.parametrize(
    ("comment", "prefill"),
    [
        ("prefill 512/8192 6%", Prefill(done_tokens=512, total_tokens=8192)),
        ("prefill 512/8192 6% eta_s=41", Prefill(done_tokens=512, total_tokens=8192, eta_s=41)),
        ("prefill 1/2", Prefill(done_tokens=1, total_tokens=2)),
        ("prefill 1/2 50% eta_s=x", Prefill(done_tokens=1, total_tokens=2)),
        ("ping", None),
        ("prefill", None),
        ("prefill 1/x", None),
        ("prefill 1/2x", None),
    ],
)
def test_progress_is_read_from_comments(comment: str, prefill: Prefill | None) -> None:
    assert prefill_of(comment) == prefill


@pytest.mark.parametrize(
    ("comment", "place"),
    [
        ("queue position=3 eta_s=12", Place(position=3, eta_s=12)),
        ("queue position=3", Place(position=3, eta_s=None)),
        ("queue position=3 eta_s=12 class=x", Place(position=3, eta_s=12)),
        ("queue", None),
        ("queue position=x", None),
        ("queue position=" + "9" * 400, None),
        ("ping", None),
    ],
)
def test_a_place_in_the_queue_is_read_from_comments(comment: str, place: Place | None) -> None:
    assert place_of(comment) == place


def test_what_is_waited_for_is_said_in_words() -> None:
    assert str(Place(position=3, eta_s=12)) == "place 3 in the queue, about 12 s"
    assert str(Place(position=1, eta_s=None)) == "place 1 in the queue"
    prefill = Prefill(done_tokens=512, total_tokens=8192, eta_s=41)
    assert str(prefill) == "reading the prompt, 512 of 8192 tokens (6%), about 41 s"
    assert str(Prefill(done_tokens=0, total_tokens=0)) == "reading the prompt, 0 of 0 tokens"


def test_a_reply_gathers_pieces_and_tool_calls() -> None:
    reply = Reply("asked")
    reply.add(Piece(text="a", reasoning="r", model="served"))
    reply.add(Piece(tool_calls=(ToolCall(index=0, name="f", arguments='{"x"'),)))
    reply.add(Piece(text="b", tool_calls=(ToolCall(index=0, name=None, arguments=": 1}"),)))
    reply.add(Piece(finish_reason="tool_calls", usage=Usage(prompt_tokens=1, completion_tokens=2)))
    reply.timings = Timings(total_s=1.5, load_s=0.5, first_token_s=0.5)
    assert reply.tool_calls == [{"name": "f", "arguments": '{"x": 1}'}]
    assert reply.message() == {"role": "assistant", "content": "ab"}
    assert reply.as_json() == {
        "model": "served",
        "content": "ab",
        "reasoning": "r",
        "tool_calls": [{"name": "f", "arguments": '{"x": 1}'}],
        "finish_reason": "tool_calls",
        "prompt_tokens": 1,
        "cached_tokens": None,
        "completion_tokens": 2,
        "total_s": 1.5,
        "load_s": 0.5,
        "first_token_s": 0.5,
        "tokens_per_s": 2.0,
    }


def test_an_empty_reply_has_nothing_to_tell() -> None:
    told = Reply("m").as_json()
    assert {key for key, value in told.items() if value not in (None, "", [])} == {"model"}


def test_the_rate_counts_tokens_after_the_first() -> None:
    assert Timings(total_s=3.0, load_s=1.0, first_token_s=1.0).decode_rate(11) == 10.0
    assert Timings(total_s=3.0, load_s=1.0, first_token_s=1.0).decode_rate(1) is None
    assert Timings(total_s=3.0, load_s=1.0, first_token_s=None).decode_rate(11) is None
    assert Timings(total_s=1.0, load_s=0.0, first_token_s=0.5).prompt_rate(10) == 20.0


@pytest.mark.parametrize(
    ("prompt", "piped", "content"),
    [("sum up", "text", "text\n\nsum up"), ("", "text", "text"), ("hi", None, "hi"), ("hi", "", "hi")],
)
def test_piped_text_stands_before_the_prompt(prompt: str, piped: str | None, content: str) -> None:
    assert user_message(prompt, piped) == {"role": "user", "content": content}
