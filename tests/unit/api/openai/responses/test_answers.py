"""Answers of /v1/responses: the object, what is kept of it, and who may ask for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from appliance import errors
from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.api.openai.responses.kept import ResponseLimits
from appliance.wire.messages import ChatPrompt, Delta, FinishReason, ToolCallDelta, Usage
from tests.fakes.fake_inference import MODEL, FakeInference, text_of
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.unit.api.door import Door, refusal
from tests.unit.api.openai.responses.asked import ROUTE, ask, respond, typed_events_of

USAGE = Usage(prompt_tokens=4, cached_tokens=1, completion_tokens=2, reasoning_tokens=1)
HOSTILE_IDS = [name for name in HOSTILE_NAMES if name.strip(".")]
"""Others are no segment of a path."""


def ending(reason: FinishReason) -> Delta:
    return Delta(id=1, choice=0, text="", tokens=0, finish_reason=reason, usage=USAGE)


def saying(*deltas: Delta) -> Door:
    return Door(FakeInference(script=lambda _: deltas))


THOUGHTFUL = (
    Delta(id=1, choice=0, text="", tokens=1, reasoning="hm"),
    Delta(id=1, choice=0, text="look", tokens=1),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, "call_1", "weather", "")]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '{"city":')]),
    Delta(id=1, choice=0, text="", tokens=1, tool_calls=[ToolCallDelta(0, None, None, '"Oslo"}')]),
    ending(FinishReason.TOOL_CALLS),
)


def test_a_whole_answer() -> None:
    told = respond(Door(), metadata={"a": "b"}, temperature=0.5).json
    assert told["object"] == "response"
    assert told["status"] == "completed"
    assert told["output"][0]["content"] == [
        {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    ]
    assert told["usage"]["total_tokens"] == 9
    assert told["usage"]["input_tokens_details"]["cached_tokens"] == 3
    assert (told["metadata"], told["temperature"], told["store"]) == ({"a": "b"}, 0.5, True)
    assert told["timings"]["prompt_n"] == 4


def test_thoughts_text_and_calls_are_items_in_their_order() -> None:
    items = respond(saying(*THOUGHTFUL)).json["output"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
    assert items[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert items[1]["content"][0]["text"] == "look"
    assert (items[2]["call_id"], items[2]["name"]) == ("call_1", "weather")
    assert items[2]["arguments"] == '{"city":"Oslo"}'
    assert {item["status"] for item in items} == {"completed"}


def test_a_stream_ends_with_the_object_of_the_whole_answer() -> None:
    whole = respond(saying(*THOUGHTFUL)).json
    events = typed_events_of(respond(saying(*THOUGHTFUL), stream=True).text)
    assert events[-1]["type"] == "response.completed"
    for told in (whole, events[-1]["response"]):
        for name in ("id", "created_at", "completed_at"):
            del told[name]
        for item in told["output"]:
            del item["id"]
    assert events[-1]["response"] == whole


def test_an_answer_cut_at_its_length_is_incomplete() -> None:
    cut = (*text_of("Hel")[:1], ending(FinishReason.LENGTH))
    told = respond(saying(*cut)).json  # type: ignore[arg-type]  # a delta
    assert told["status"] == told["output"][0]["status"] == "incomplete"
    assert told["incomplete_details"] == {"reason": "max_output_tokens"}
    events = typed_events_of(respond(saying(*cut), stream=True).text)  # type: ignore[arg-type]  # a delta
    assert events[-1]["type"] == "response.incomplete"


def test_a_model_that_says_nothing_sends_an_empty_message() -> None:
    told = respond(saying(ending(FinishReason.STOP))).json
    assert [item["content"][0]["text"] for item in told["output"]] == [""]


def test_a_fault_before_the_first_byte_has_its_status() -> None:
    door = Door(FakeInference(refuse=errors.Overloaded(waiting=1, limit=1, retry_after_s=1)))
    assert refusal(respond(door, stream=True)) == (503, None, "overloaded")
    door = Door(
        FakeInference(refuse=errors.InvalidRequest(reason="x", param="response_format.json_schema.schema"))
    )
    assert refusal(respond(door)) == (400, "text.format.schema", "invalid_value")


def test_a_fault_in_mid_stream_is_a_failed_response_that_is_not_kept() -> None:
    script = [*text_of("Hel")[:1], errors.RunnerDied(model="m", cause="SIGKILL")]
    door = Door(FakeInference(script=lambda _: script))
    events = typed_events_of(respond(door, stream=True).text)
    told = events[-1]["response"]
    assert events[-1]["type"] == "response.failed"
    assert (told["status"], told["error"]["code"]) == ("failed", "runner_died")
    assert told["output"][0]["status"] == "incomplete"
    assert told["output"][0]["content"][0]["text"] == "Hel"
    assert ask(door, "GET", told["id"]).status_code == 404


def test_a_fault_before_it_was_accepted_still_begins_the_stream() -> None:
    door = Door(FakeInference(looks=1, refuse_later=errors.RunnerDied(model="m", cause="SIGKILL")))
    events = typed_events_of(respond(door, {"X-Outpost-Progress": "1"}, stream=True).text)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]


def test_a_bug_in_mid_stream_says_nothing_of_itself() -> None:
    script = [*text_of("Hel")[:1], RuntimeError("secret of the house")]
    answer = respond(Door(FakeInference(script=lambda _: script)), stream=True)
    assert typed_events_of(answer.text)[-1]["response"]["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


def test_a_conversation_goes_on_by_id() -> None:
    door = Door()
    first = respond(door, input="one", instructions="only once").json
    second = respond(door, input="two", previous_response_id=first["id"], stream=True)
    third_id = typed_events_of(second.text)[-1]["response"]["id"]
    respond(door, input="three", previous_response_id=third_id, store=False)
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [(message["role"], message["content"]) for message in prompt.messages] == [
        ("user", "one"),
        ("assistant", "Hello"),
        ("user", "two"),
        ("assistant", "Hello"),
        ("user", "three"),
    ]


def test_a_call_is_answered_by_id() -> None:
    door = saying(*THOUGHTFUL)
    first = respond(door).json
    output = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    assert respond(door, input=[output], previous_response_id=first["id"]).status_code == 200
    prompt = door.inference.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [message["role"] for message in prompt.messages] == ["user", "assistant", "tool"]
    assert prompt.messages[1]["reasoning_content"] == "hm"


def test_what_is_kept_can_be_read_and_deleted() -> None:
    door = Door()
    told = respond(door).json
    assert ask(door, "GET", told["id"]).json == told
    assert ask(door, "DELETE", told["id"]).json == {
        "id": told["id"],
        "object": "response",
        "deleted": True,
    }
    for method, path in (("GET", told["id"]), ("DELETE", told["id"]), ("GET", f"{told['id']}/input_items")):
        assert refusal(ask(door, method, path)) == (404, None, "response_not_found")


def test_what_is_not_to_be_kept_is_not() -> None:
    door = Door()
    told = respond(door, store=False).json
    assert told["store"] is False
    assert ask(door, "GET", told["id"]).status_code == 404


def test_an_outpost_that_keeps_nothing_says_so_to_who_asked_for_it() -> None:
    door = Door(responses=ResponseLimits(max_count=0))
    assert "x-outpost-warning" not in respond(door).headers
    answer = respond(door, store=True)
    assert "'store' is ignored" in answer.headers["x-outpost-warning"]
    assert answer.json["store"] is False


def test_what_is_too_large_to_be_kept_says_so() -> None:
    door = Door(responses=ResponseLimits(max_bytes=1))
    answer = respond(door)
    assert "too large to be kept" in answer.headers["x-outpost-warning"]
    assert answer.json["store"] is False


def test_the_items_of_the_input_come_in_pages() -> None:
    door = Door()
    first = respond(door, input=[{"role": "user", "content": text} for text in "abc"]).json["id"]
    second = respond(door, input="d", previous_response_id=first).json["id"]

    def texts(query: str) -> tuple[str, bool]:
        told = ask(door, "GET", f"{second}/input_items{query}").json
        assert told["object"] == "list"
        assert told["first_id"] == told["data"][0]["id"]
        assert told["last_id"] == told["data"][-1]["id"]
        return "".join(item["content"][0]["text"] for item in told["data"]), told["has_more"]

    assert texts("") == ("dHellocba", False)
    assert texts("?order=asc&limit=2") == ("ab", True)
    after = ask(door, "GET", f"{second}/input_items?order=asc&limit=2").json["last_id"]
    assert texts(f"?order=asc&limit=2&after={after}") == ("cHello", True)


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "invalid_value"),
        ("limit=101", "limit", "invalid_value"),
        ("limit=٣", "limit", "invalid_value"),
        ("order=up", "order", "invalid_value"),
        ("after=nope", "after", "invalid_value"),
        ("before=x", "before", "unsupported_parameter"),
    ],
)
def test_a_wrong_page_is_named(query: str, param: str, code: str) -> None:
    door = Door()
    id_ = respond(door).json["id"]
    assert refusal(ask(door, "GET", f"{id_}/input_items?{query}")) == (400, param, code)


def test_a_kept_response_is_given_whole_and_cannot_be_cancelled() -> None:
    door = Door()
    id_ = respond(door).json["id"]
    assert ask(door, "GET", f"{id_}?include[]=message.output_text.logprobs&stream=false").status_code == 200
    assert refusal(ask(door, "GET", f"{id_}?stream=true")) == (400, "stream", "unsupported_parameter")
    assert refusal(ask(door, "GET", f"{id_}?starting_after=1"))[1] == "starting_after"
    assert refusal(ask(door, "POST", f"{id_}/cancel")) == (400, "response_id", "unsupported_parameter")
    assert refusal(ask(door, "POST", "resp_nope/cancel")) == (404, None, "response_not_found")


def test_nobody_reads_the_responses_of_another_key() -> None:
    mine, other = generate(), generate()
    ring = KeyRing({key.key_id: StoredKey(sha256=key.sha256) for key in (mine, other)})
    door = Door(keys=ring)
    me, you = ({"Authorization": f"Bearer {key.text}"} for key in (mine, other))
    id_ = respond(door, me).json["id"]
    assert ask(door, "GET", id_, me, address="10.0.0.1").status_code == 200
    for method, path in (
        ("GET", id_),
        ("DELETE", id_),
        ("GET", f"{id_}/input_items"),
        ("POST", f"{id_}/cancel"),
    ):
        assert refusal(ask(door, method, path, you)) == (404, None, "response_not_found")
    told = respond(door, you, previous_response_id=id_)
    assert refusal(told) == (400, "previous_response_id", "previous_response_not_found")
    assert ask(door, "GET", id_, me).status_code == 200


@pytest.mark.parametrize("name", [*HOSTILE_IDS, "x" * 10_000])
def test_a_hostile_id_is_not_found(name: str) -> None:
    door = Door()
    id_ = quote(name, safe="", errors="surrogatepass")
    for method, path in (
        ("GET", id_),
        ("DELETE", id_),
        ("GET", f"{id_}/input_items"),
        ("POST", f"{id_}/cancel"),
    ):
        assert ask(door, method, path).status_code in {400, 404}, path
    if name.isprintable():
        assert refusal(respond(door, previous_response_id=name))[0] == 400


def test_without_keys_each_address_has_its_own() -> None:
    door = Door()
    id_ = respond(door).json["id"]
    assert ask(door, "GET", id_, address="10.0.0.1").status_code == 404


def test_a_prompt_stands_in_no_log(journal: list[dict[str, Any]]) -> None:
    door = Door()
    respond(door, input="canary-7f3a", instructions="canary-7f3a", stream=True)
    door.post(ROUTE, {"model": MODEL, "input": [{"role": "canary-7f3a"}]})
    assert "canary-7f3a" not in str(journal)
