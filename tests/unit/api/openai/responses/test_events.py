"""Laws of the events: whatever a model says, and wherever it fails, a stream is well formed, ends once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import errors
from appliance.api.openai.responses.output import Output
from appliance.errors import EngineFault
from appliance.wire.messages import Delta, FinishReason, TokenAlternative, TokenLogprob, ToolCallDelta, Usage
from tests.fakes.fake_inference import FakeInference, Line
from tests.unit.api.door import Door
from tests.unit.api.openai.responses.asked import respond, typed_events_of

ENDS = ("response.completed", "response.incomplete", "response.failed")
USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2)
WORDS = st.text(alphabet='abcé \n"', min_size=1, max_size=4)
LOGPROBS = st.lists(
    st.builds(
        lambda piece: TokenLogprob(1, piece.encode(), -0.5, [TokenAlternative(2, b"\xff", -1.0)]), WORDS
    ),
    max_size=2,
)


@st.composite
def deltas(draw: st.DrawFn) -> list[Delta]:
    """An answer as the engine's parser tells it: thoughts and text anywhere, calls one after another."""
    said: list[Delta] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["think", "text", "call", "silent", "all"]), max_size=8)):
        thought = draw(WORDS) if kind in {"think", "all"} else ""
        text = draw(WORDS) if kind in {"text", "all"} else ""
        parts: list[ToolCallDelta] = []
        if kind in {"call", "all"}:
            parts = [ToolCallDelta(calls, f"call_{calls}", "f", draw(st.just("") | WORDS))]
            parts += [ToolCallDelta(calls, None, None, piece) for piece in draw(st.lists(WORDS, max_size=3))]
            calls += 1
        said.append(
            Delta(
                id=1,
                choice=0,
                text=text,
                tokens=1,
                reasoning=thought,
                tool_calls=parts,
                logprobs=draw(LOGPROBS),
            )
        )
    reason = draw(st.sampled_from([FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS]))
    return [*said, Delta(id=1, choice=0, text="", tokens=0, finish_reason=reason, usage=USAGE)]


def streamed(lines: Sequence[Line], *, batch: int = 1) -> list[dict[str, Any]]:
    return typed_events_of(
        respond(Door(FakeInference(script=lambda _: lines, batch=batch)), stream=True).text
    )


def check(events: list[dict[str, Any]]) -> None:
    """One begin, one end, one item open at a time, and every done says what its deltas said."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] in ENDS for event in events] == [False] * (len(events) - 1) + [True]
    assert len({event["response"]["id"] for event in (*events[:2], events[-1])}) == 1
    items = _items(events[2:-1], failed=events[-1]["type"] == ENDS[2])
    assert events[-1]["response"]["output"] == items


def _items(events: list[dict[str, Any]], *, failed: bool) -> list[dict[str, Any]]:
    """Those that were closed, and the one that a fault cut off."""
    items: list[dict[str, Any]] = []
    block: list[dict[str, Any]] = []
    for event in events:
        assert event["output_index"] == len(items)
        block.append(event)
        if event["type"] == "response.output_item.done":
            items.append(_item(block))
            block = []
    if failed and block:
        items.append(_cut_item(block))
        block = []
    assert not block
    return items


def _item(block: list[dict[str, Any]]) -> dict[str, Any]:
    added, item = block[0]["item"], block[-1]["item"]
    assert block[0]["type"] == "response.output_item.added"
    assert added["status"] == "in_progress"
    assert item["status"] in {"completed", "incomplete"}
    assert added["id"] == item["id"]
    assert {event["item_id"] for event in block[1:-1]} <= {item["id"]}
    types = [event["type"].removeprefix("response.") for event in block[1:-1]]
    text = "".join(event["delta"] for event in block if event["type"].endswith(".delta"))
    if item["type"] == "function_call":
        name = "function_call_arguments"
        assert types == [*[f"{name}.delta"] * (len(types) - 1), f"{name}.done"]
        assert block[-2]["arguments"] == item["arguments"] == text
        return dict(item)
    name = "reasoning_text" if item["type"] == "reasoning" else "output_text"
    middle = [f"{name}.delta"] * (len(types) - 3)
    assert types == ["content_part.added", *middle, f"{name}.done", "content_part.done"]
    assert block[-3]["text"] == block[-2]["part"]["text"] == item["content"][0]["text"] == text
    told = [entry for event in block[1:-2] for entry in event.get("logprobs", ())]
    assert told == item["content"][0].get("logprobs", [])
    return dict(item)


def _cut_item(block: list[dict[str, Any]]) -> dict[str, Any]:
    item = dict(block[0]["item"])
    text = "".join(event["delta"] for event in block if event["type"].endswith(".delta"))
    if item["type"] == "function_call":
        return {**item, "status": "incomplete", "arguments": text}
    part = {**block[1]["part"], "text": text}
    if "logprobs" in part:
        part["logprobs"] = [entry for event in block[2:] for entry in event["logprobs"]]
    return {**item, "status": "incomplete", "content": [part]}


@given(deltas(), st.integers(1, 4))
def test_every_stream_is_well_formed_and_ends_once(said: list[Delta], batch: int) -> None:
    events = streamed(said, batch=batch)
    check(events)
    cut = said[-1].finish_reason is FinishReason.LENGTH
    assert events[-1]["type"] == ("response.incomplete" if cut else "response.completed")


@given(deltas(), st.data())
def test_a_stream_that_fails_anywhere_is_well_formed_and_says_so_last(
    said: list[Delta], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(said) - 1))
    fault = data.draw(st.sampled_from([errors.RunnerDied(model="m", cause="x"), RuntimeError("bug")]))
    events = streamed([*said[:at], fault])
    check(events)
    assert events[-1]["type"] == "response.failed"


@given(deltas())
def test_nothing_of_what_was_said_is_lost(said: list[Delta]) -> None:
    output = Output()
    for delta in said:
        output.add(delta)
    texts = {"message": "", "reasoning": "", "function_call": ""}
    for item in output.items:
        texts[item["type"]] += item["arguments"] if "arguments" in item else item["content"][0]["text"]
    assert texts["message"] == "".join(delta.text for delta in said)
    assert texts["reasoning"] == "".join(delta.reasoning for delta in said)
    assert texts["function_call"] == "".join(call.arguments for delta in said for call in delta.tool_calls)


def test_arguments_of_a_call_that_is_not_open_are_a_fault_of_ours() -> None:
    output = Output()
    output.add(Delta(id=1, choice=0, text="x", tokens=1))
    stray = Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, "{}")])
    with pytest.raises(EngineFault, match="call 0"):
        output.add(stray)
