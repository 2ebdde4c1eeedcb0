"""/v1/messages: what is refused, by name and in Anthropic's form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance import errors
from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.api.anthropic_errors import is_anthropic
from appliance.api.calls import Limits
from tests.fakes.fake_inference import FakeInference
from tests.unit.api.anthropic.asked import HELLO, VERSION, post, refusal, refused
from tests.unit.api.anthropic.test_messages import CALL, RESULT, TOOL, USER
from tests.unit.api.door import Door

INVALID = "invalid_request_error"


def content(*blocks: object, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}, USER]}


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": None}, "max_tokens: the field is required"),
        ({"messages": None}, "messages: the field is required"),
        ({"model": None}, "model: the field is required"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens: an integer is expected"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: the field is required"),
        ({"messages": [{"role": "user", "content": []}, USER]}, "messages.0.content: at least one block"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (content(IMAGE), "content of type 'image' is not supported"),
        (content({"type": "document", "source": {}}), "content of type 'document'"),
        (content({"type": "server_tool_use", "id": "a"}), "content of type 'server_tool_use'"),
        (content({"type": "text"}), "messages.0.content.0.text: the field is required"),
        (content({"type": "text", "text": "a", "texts": "b"}), "messages.0.content.0.texts"),
        (content({"type": 5}), "messages.0.content.0.type"),
        (content({}), "messages.0.content.0.type"),
        (content("hi"), "messages.0.content.0"),
        (content(CALL), "'tool_use' is only for the role 'assistant'"),
        (content(RESULT, role="assistant"), "'tool_result' is only for the role 'user'"),
        (content({"type": "thinking", "thinking": "a"}), "'thinking' is only for the role 'assistant'"),
        (content(RESULT), "messages.0.content.0.tool_use_id: no 'tool_use' before it has this id"),
        ({"messages": [USER, {"role": "assistant", "content": [CALL]}]}, "messages.1.content: a 'tool_use'"),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [CALL]},
                    {"role": "user", "content": [{**RESULT, "content": [IMAGE]}]},
                ]
            },
            "content of type 'image'",
        ),
        ({"system": [IMAGE]}, "content of type 'image'"),
        ({"system": 5}, "system"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "a tool of type 'web_search_"),
        ({"tools": [{"name": "a"}]}, "tools.0.input_schema: the field is required"),
        ({"tools": [TOOL, TOOL]}, "tools.1.name: two tools have this name"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.name"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type: 'any' needs 'tools'"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name: the field is required"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name: no entry"),
        ({"tools": [TOOL], "tool_choice": {"type": "any", "name": "weather"}}, "tool_choice.name: only"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens: the field is required"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"container": "c"}, "the field 'container' is not supported"),
        ({"mcp_servers": []}, "the field 'mcp_servers' is not supported"),
        ({"headers": {"X-Outpost-Priority": "first"}}, "X-Outpost-Priority"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, Any], named: str) -> None:
    status, kind, message = refused(**fields)
    assert (status, kind) == (400, INVALID)
    assert named in message


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidRequest(reason="x"), 400, INVALID),
        (errors.ContextLengthExceeded(prompt_tokens=2, limit_tokens=1), 400, INVALID),
        (errors.NotAllowed(reason="x"), 403, "permission_error"),
        (errors.ModelInvalid(model="m", reason="x"), 422, INVALID),
        (errors.Overloaded(waiting=1, limit=1, retry_after_s=1.2), 529, "overloaded_error"),
        (errors.ModelLoading(model="m", waited_s=1, retry_after_s=5), 529, "overloaded_error"),
        (errors.ShuttingDown(), 529, "overloaded_error"),
        (errors.DeadlineExceeded(limit_s=1), 504, "timeout_error"),
        (errors.RunnerDied(model="m", cause="x"), 503, "api_error"),
        (errors.InsufficientMemory(model="m", needed_bytes=2, available_bytes=1), 503, "api_error"),
        (errors.EngineFault(reason="x"), 500, "api_error"),
        (RuntimeError("secret of the house"), 500, "api_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_fault_has_anthropics_status_and_type(error: Exception, status: int, kind: str) -> None:
    answer = post(Door(FakeInference(refuse=error)))
    assert refusal(answer)[:2] == (status, kind)
    assert "secret" not in answer.text
    if status == 529:
        assert int(answer.headers["retry-after"]) >= 1


def test_an_unknown_model_is_not_found() -> None:
    assert refused(model="nope")[:2] == (404, "not_found_error")


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/messages/batches/1", "/v1/messages/"])
def test_an_unknown_path_below_is_not_found_in_the_same_form(path: str) -> None:
    assert refusal(Door().get(path))[:2] == (404, "not_found_error")


def test_a_wrong_method_is_refused_in_the_same_form() -> None:
    answer = Door().get("/v1/messages")
    assert refusal(answer)[:2] == (405, INVALID)
    assert answer.headers["allow"]


def test_a_body_that_is_too_large_is_told_in_the_same_form() -> None:
    door = Door(limits=Limits(max_body_bytes=1024))
    answer = post(door, system="x" * 2048)
    assert refusal(answer)[:2] == (413, "request_too_large")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":NaN}', b"\xff", b'{"model":1,"model":2}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(Door().post_bytes("/v1/messages", body, VERSION))[:2] == (400, INVALID)


def test_a_body_of_another_type_is_refused() -> None:
    answer = Door().post_bytes("/v1/messages", b"a=b", {"Content-Type": "text/plain"})
    assert refusal(answer)[:2] == (415, INVALID)


def test_a_key_is_asked_for_and_taken_as_anthropics_clients_send_it() -> None:
    key = generate()
    door = Door(keys=KeyRing({key.key_id: StoredKey(sha256=key.sha256)}))
    assert refusal(post(door))[:2] == (401, "authentication_error")
    assert refusal(post(door, {"x-api-key": "sk-ant-api03-nothing"}))[:2] == (401, "authentication_error")
    assert post(door, {"x-api-key": key.text}).status_code == 200
    assert post(door, {"Authorization": f"Bearer {key.text}"}).status_code == 200


def test_a_request_keeps_the_id_it_came_with() -> None:
    answer = post(Door(), {"X-Request-Id": "mine-1"}, model="nope")
    assert answer.json["request_id"] == "mine-1"


def test_other_paths_keep_their_own_form() -> None:
    assert not is_anthropic("/v1/messagesx")
    answer = Door().post("/v1/chat/completions", {})
    assert "code" in answer.json["error"]
    assert "request-id" not in answer.headers


@pytest.mark.parametrize("kind", ["x" * 100_000, "é'\n\"", "\u202e"])
def test_a_hostile_kind_is_shown_short_and_plain(kind: str) -> None:
    for fields in (content({"type": kind}), {"tools": [{"type": kind}]}):
        _, _, message = refused(**fields)
        assert len(message) < 300
        assert message.isascii()


def test_more_blocks_than_a_message_may_have_are_refused() -> None:
    blocks = [{"type": "text", "text": ""}] * 4097
    status, _, message = refused(messages=[{"role": "user", "content": blocks}])
    assert status == 400
    assert "messages.0.content" in message


def test_deep_inputs_and_schemas_are_refused() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"properties": deep}
    assert refused(tools=[{"name": "f", "input_schema": deep}])[:2] == (400, INVALID)
    body = json.dumps(HELLO).encode()
    assert refusal(Door().post_bytes("/v1/messages", body.replace(b'"hi"', b"[" * 10_000), VERSION))[0] == 400
