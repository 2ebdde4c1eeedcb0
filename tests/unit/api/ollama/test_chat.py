"""POST /api/chat over a fake Inference."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from appliance.api.exchange import Exchange
from appliance.api.ollama.chat import ChatForm
from appliance.api.ollama.lines import LineWriter
from appliance.errors import ContextLengthExceeded, EngineFault, Overloaded
from appliance.supervisor.inference import Generation
from appliance.supervisor.turn import Asker
from appliance.wire.messages import (
    ChatPrompt,
    Delta,
    FinishReason,
    Generate,
    TokenAlternative,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from tests.fakes.fake_inference import MODEL, FakeInference, Line, Silence, text_of
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import USER, chat, lines_of, prompt, refusal, warning

USAGE = Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=2, prefill_s=0.25, decode_s=0.5)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def script(door: Door, *lines: Line) -> None:
    door.inference.script = lambda _: lines


def end(reason: FinishReason = FinishReason.STOP, **fields: Any) -> Delta:
    return Delta(id=1, choice=0, text="", tokens=0, finish_reason=reason, usage=USAGE, **fields)


@pytest.fixture
def door() -> Door:
    return Door()


def exchange_with(door: Door) -> Exchange:
    return Exchange(request_id="r", method="POST", gone=lambda: False, observer=None)


# ── forms ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_answer_has_the_message_and_its_figures_in_nanoseconds(door: Door) -> None:
    told = chat(door).json
    assert told["model"] == MODEL
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", told["created_at"])
    assert told["message"] == {"role": "assistant", "content": "Hello"}
    assert (told["done"], told["done_reason"]) == (True, "stop")
    assert (told["prompt_eval_count"], told["prompt_eval_duration"]) == (7, 250_000_000)
    assert (told["eval_count"], told["eval_duration"]) == (2, 500_000_000)
    assert told["total_duration"] > told["load_duration"] > 0


def test_a_stream_is_lines_and_the_last_one_is_done(door: Door) -> None:
    first, *tokens, last = lines_of(chat(door, stream=True))
    assert first["message"] == {"role": "assistant", "content": ""}
    assert [line["message"]["content"] for line in tokens] == ["Hel", "lo"]
    assert all(line["done"] is False and "done_reason" not in line for line in (first, *tokens))
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "stop", "")
    assert last["eval_count"] == 2


def test_a_line_is_json_whatever_the_name_and_the_text_hold(door: Door) -> None:
    writer = LineWriter('a%s"\\%d', ChatForm(), exchange_with(door))
    for text in ("", "%s %% %d", 'quote" \n \u2028', "日本"):
        line = json.loads(writer.chunk(Delta(id=1, choice=0, text=text, tokens=1)) or writer.opening())
        assert (line["model"], line["message"]["content"]) == ('a%s"\\%d', text)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", line["created_at"])


def test_it_streams_unless_told_not_to(door: Door) -> None:
    assert lines_of(door.post("/api/chat", {"model": MODEL, "messages": [USER]}))[-1]["done"]
    assert lines_of(chat(door, stream=None))[-1]["done"]


def test_silence_is_filled_with_tokens_without_text() -> None:
    from appliance.api.calls import Limits

    door = Door(limits=Limits(heartbeat_s=0.02))
    script(door, Silence(0.1), *text_of("Hello"))
    told = [line["message"]["content"] for line in lines_of(chat(door, stream=True))]
    assert told.count("") >= 3
    assert "".join(told) == "Hello"


def test_an_answer_that_is_cut_off_says_so(door: Door) -> None:
    script(door, end(FinishReason.LENGTH))
    assert chat(door).json["done_reason"] == "length"


def test_reasoning_is_told_as_thinking(door: Door) -> None:
    script(door, Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"), *text_of("yes"))
    assert chat(door).json["message"] == {"role": "assistant", "content": "yes", "thinking": "hm"}
    assert lines_of(chat(door, stream=True))[1]["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
    }


def test_logprobs_have_ollamas_form(door: Door) -> None:
    token = TokenLogprob(5, b"Hi", -0.5, [TokenAlternative(6, b"Ho", -1.5)])
    script(door, Delta(id=1, choice=0, text="Hi", tokens=1, logprobs=[token]), end())
    expected = [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -1.5, "bytes": [72, 111]}],
        }
    ]
    assert chat(door, logprobs=True, top_logprobs=1).json["logprobs"] == expected
    assert door.inference.requests[-1].top_logprobs == 1
    assert lines_of(chat(door, logprobs=True, stream=True))[1]["logprobs"] == expected
    assert "needs 'logprobs'" in warning(chat(door, top_logprobs=2))


# ── tools ──────────────────────────────────────────────────────────────────────────────────────────────────


CALL = (
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_a", "add", '{"a":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, "1}")]),
)


def test_calls_are_told_whole_and_their_arguments_are_objects(door: Door) -> None:
    second = Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(1, "call_b", "sub", "{}")])
    script(door, *CALL, second, end(FinishReason.TOOL_CALLS))
    first_call = {"id": "call_a", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}
    second_call = {"id": "call_b", "function": {"index": 1, "name": "sub", "arguments": {}}}
    told = chat(door, tools=[TOOL]).json
    assert told["message"]["tool_calls"] == [first_call, second_call]
    assert told["done_reason"] == "stop"
    lines = lines_of(chat(door, tools=[TOOL], stream=True))
    assert [line["message"].get("tool_calls") for line in lines] == [None, [first_call], [second_call], None]


def test_a_call_that_was_cut_off_is_told_as_text(door: Door) -> None:
    script(door, CALL[0], end(FinishReason.LENGTH))
    assert chat(door, tools=[TOOL]).json["message"] == {"role": "assistant", "content": '{"a":'}
    assert "".join(line["message"]["content"] for line in lines_of(chat(door, stream=True))) == '{"a":'


def test_tools_reach_the_template_as_they_are(door: Door) -> None:
    tool = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": ["object"]}, "strict": True},
    }
    chat(door, tools=[tool])
    assert prompt(door).tools == [tool]


def test_calls_and_results_of_the_past_find_each_other(door: Door) -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    chat(
        door,
        messages=[
            USER,
            {"role": "assistant", "tool_calls": [call, {"function": {"name": "sub"}}, call]},
            {"role": "tool", "content": "0", "tool_name": "sub"},
            {"role": "tool", "content": "1"},
            {"role": "TOOL", "content": "2", "tool_call_id": "call_3"},
            {"role": "tool", "content": "3"},
        ],
    )
    _, said, *results = prompt(door).messages
    assert said["content"] is None
    assert said["tool_calls"][0] == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a":1}'},
    }
    assert [(one["tool_call_id"], one.get("name")) for one in results] == [
        ("call_2", "sub"),
        ("call_1", "add"),
        ("call_3", "add"),
        ("call_4", None),
    ]


# ── memory ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_message_loads_the_model_and_a_keep_alive_of_0_puts_it_out(door: Door) -> None:
    loaded = chat(door, messages=[], keep_alive="10m").json
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert loaded["message"] == {"role": "assistant", "content": ""}
    assert door.inference.keep_alives == [600.0]
    assert chat(door, messages=None, keep_alive=0).json["done_reason"] == "unload"
    assert door.inference.unloaded == 1
    assert door.inference.requests == []


def test_keep_alive_goes_with_the_request(door: Door) -> None:
    chat(door, keep_alive=0)
    chat(door, keep_alive=-1)
    chat(door)
    assert door.inference.keep_alives == [0.0, math.inf, None]


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_model_is_told_in_the_words_that_clients_match(door: Door) -> None:
    assert refusal(chat(door, model="nope")) == (404, "model 'nope' not found")
    assert refusal(chat(door, model="")) == (400, "model is required")
    assert refusal(door.post("/api/chat", {"messages": [USER]})) == (400, "model is required")


def test_a_full_queue_is_told_in_ollamas_words_and_with_retry_after(door: Door) -> None:
    door.inference.refuse = Overloaded(waiting=9, limit=9, retry_after_s=2.0)
    answer = chat(door)
    status, text = refusal(answer)
    assert status == 503
    assert text.startswith("server busy, please try again.  maximum pending requests exceeded")
    assert answer.headers["retry-after"] == "2"


def test_a_fault_in_mid_stream_is_the_last_line(door: Door) -> None:
    script(door, *text_of("Hel")[:1], EngineFault(reason="it broke"))
    lines = lines_of(chat(door, stream=True))
    assert lines[-2]["message"]["content"] == "Hel"
    assert set(lines[-1]) == {"error"}
    assert "it broke" in lines[-1]["error"]
    assert door.inference.generations[0].is_closed
    assert refusal(chat(door))[0] == 500


def test_a_secret_of_ours_is_in_no_line(door: Door) -> None:
    script(door, RuntimeError("secret"))
    answer = chat(door, stream=True)
    assert "error" in lines_of(answer)[-1]
    assert "secret" not in answer.text


class Short(FakeInference):
    """Takes so many characters, one a token."""

    room = 60

    def generate(self, model: str, request: Generate, *, asker: Asker) -> Generation:
        assert isinstance(request.prompt, ChatPrompt)
        size = sum(len(one["content"]) for one in request.prompt.messages)
        if size >= self.room:
            raise ContextLengthExceeded(prompt_tokens=size, limit_tokens=self.room)
        return super().generate(model, request, asker=asker)


LONG = [
    {"role": "system", "content": "s" * 10},
    *({"role": role, "content": f"{at}" * 10} for at, role in enumerate(["user", "assistant"] * 4)),
    {"role": "user", "content": "last"},
]


def test_a_chat_that_is_too_long_is_refused_and_not_cut() -> None:
    status, text = refusal(chat(Door(Short()), messages=LONG))
    assert status == 400
    assert "never cut silently" in text
    assert refusal(chat(Door(Short()), messages=LONG, truncate=False))[0] == 400


def test_who_asks_for_it_has_the_oldest_messages_left_out_and_is_told() -> None:
    door = Door(Short())
    answer = chat(door, messages=LONG, truncate=True)
    kept = [one["content"] for one in prompt(door).messages]
    assert kept == ["s" * 10, *(f"{at}" * 10 for at in range(4, 8)), "last"]
    assert "the 4 oldest messages did not fit" in warning(answer)


def test_what_cannot_be_shortened_is_refused_whatever_was_asked() -> None:
    question = {"role": "user", "content": "x" * 70}
    assert refusal(chat(Door(Short()), messages=[question], truncate=True))[0] == 400
