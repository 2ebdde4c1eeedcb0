"""The fields of /api/chat: honoured, refused by name, or named in a warning; and the bodies it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.supervisor.policy import ModelDefaults
from appliance.wire.messages import ConstraintKind
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import USER, chat, prompt, refusal, warning


@pytest.fixture
def door() -> Door:
    return Door()


def test_options_are_honoured_with_ollamas_defaults(door: Door) -> None:
    chat(door, options={"temperature": 0, "num_predict": 5, "stop": ["x"], "seed": 7, "top_k": 3.0})
    asked = door.inference.requests[-1]
    assert (asked.max_tokens, asked.stop, asked.sampling.seed, asked.sampling.top_k) == (5, ["x"], 7, 3)
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.min_p) == (0.0, 0.9, 0.0)
    chat(door, options={"num_predict": -1})
    assert door.inference.requests[-1].max_tokens is None


def test_what_a_model_was_stored_with_stands_above_ollamas_defaults() -> None:
    defaults = ModelDefaults(sampling={"top_p": 0.5}, system="Be kind.", stop=("s",))
    door = Door(FakeInference(defaults=defaults))
    chat(door)
    asked = door.inference.requests[-1]
    assert (asked.sampling.top_p, asked.sampling.min_p, asked.stop) == (0.5, 0.0, ["s"])
    assert prompt(door).messages[0] == {"role": "system", "content": "Be kind."}
    chat(door, messages=[{"role": "system", "content": "Be short."}, USER])
    assert [one["content"] for one in prompt(door).messages] == ["Be short.", "hi"]


def test_a_format_is_a_constraint(door: Door) -> None:
    chat(door, format="json")
    assert door.inference.requests[-1].constraint is not None
    assert door.inference.requests[-1].constraint.kind is ConstraintKind.JSON_OBJECT
    chat(door, format={"type": "object"})
    told = door.inference.requests[-1].constraint
    assert told is not None
    assert (told.kind, told.schema) == (ConstraintKind.JSON_SCHEMA, {"type": "object"})
    for absent in (None, ""):
        chat(door, format=absent)
        assert door.inference.requests[-1].constraint is None
    assert refusal(chat(door, format="yaml"))[0] == 400


@pytest.mark.parametrize(
    ("think", "kwargs"),
    [
        (None, {}),
        (True, {"enable_thinking": True, "thinking": True}),
        (False, {"enable_thinking": False, "thinking": False}),
        ("low", {"enable_thinking": True, "thinking": True, "reasoning_effort": "low"}),
    ],
)
def test_think_is_told_to_the_template(door: Door, think: object, kwargs: dict[str, Any]) -> None:
    chat(door, think=think)
    assert prompt(door).template_kwargs == kwargs


def test_a_word_that_is_no_level_of_thinking_is_refused(door: Door) -> None:
    status, text = refusal(chat(door, think="hard"))
    assert status == 400
    assert "invalid think value" in text


def test_images_are_refused_by_name(door: Door) -> None:
    status, text = refusal(chat(door, messages=[{**USER, "images": ["aGk="]}]))
    assert (status, text.startswith("'images' is not supported")) == (400, True)
    assert chat(door, messages=[{**USER, "images": []}]).status_code == 200


def test_what_is_unknown_is_named_and_the_rest_is_done(door: Door) -> None:
    answer = chat(door, messages=[{**USER, "colour": 1}], metadata={"a": 1}, options={"nope": 1})
    assert answer.status_code == 200
    for named in ("'messages.0.colour'", "'metadata'", "option 'nope'"):
        assert named in warning(answer)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"options": {"num_gpu": 99}}, "'num_gpu'"),
        ({"options": {"num_thread": 2}}, "'num_thread'"),
        ({"options": {"num_keep": 4}}, "'num_keep'"),
        ({"options": {"num_ctx": 4096}}, "2048 tokens of context, not 4096"),
        ({"shift": True}, "'shift'"),
    ],
)
def test_what_is_not_honoured_is_named(door: Door, fields: dict[str, Any], named: str) -> None:
    answer = chat(door, **fields)
    assert answer.status_code == 200
    assert named in warning(answer)


@pytest.mark.parametrize(
    "fields",
    [{"options": {"num_gpu": -1}}, {"options": {"num_ctx": 1024}}, {"options": None}, {"shift": False}],
)
def test_what_changes_nothing_needs_no_word(door: Door, fields: dict[str, Any]) -> None:
    assert warning(chat(door, **fields)) == ""


def test_the_early_status_of_sse_is_told_not_to_be_there(door: Door) -> None:
    body = {"model": MODEL, "messages": [USER]}
    answer = door.post("/api/chat", body, {"X-Outpost-Progress": "1"})
    assert "X-Outpost-Progress" in warning(answer)


def test_the_rendered_prompt_is_shown_on_request(door: Door) -> None:
    told = chat(door, _debug_render_only=True).json
    assert told["_debug_info"] == {"rendered_template": "rendered", "image_count": 0}
    assert door.inference.requests == []


# ── bodies ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kind", [None, "application/x-www-form-urlencoded", "text/plain", "application/json"]
)
def test_whatever_content_type_curl_and_scripts_send_will_do(door: Door, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    body = json.dumps({"model": MODEL, "messages": [USER]}).encode()
    answer = door.client.simulate_post("/api/chat", body=body, headers=headers, host="localhost")
    assert answer.status_code == 200


@pytest.mark.parametrize("mark", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_browser_has_to_send_json(door: Door, mark: dict[str, str]) -> None:
    headers = {"Content-Type": "text/plain", **mark}
    answer = door.client.simulate_post("/api/chat", body=b"{}", headers=headers, host="localhost")
    assert answer.status_code == 415
    assert isinstance(answer.json["error"], str)


def test_no_body_is_told_in_ollamas_words(door: Door) -> None:
    assert refusal(door.post_bytes("/api/chat", b"")) == (400, "missing request body")
