"""What a key may, as its requests meet it: models, context, class."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.access.grants import Bounds
from appliance.access.keys import KeyRing, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.supervisor.policy import ModelDefaults
from appliance.supervisor.turn import Priority
from appliance.wire.messages import Embed, Rerank
from tests.fakes.fake_inference import MODEL, FakeInference
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.unit.api.door import Door, events_of

KEY = generate()
BEARER = {"Authorization": f"Bearer {KEY.text}"}


def opened(inference: FakeInference | None = None, *, bounds: Bounds = Bounds(), **fields: Any) -> Door:  # noqa: B008
    scopes = frozenset({Scope.INFER, Scope.MODELS_READ, Scope.MODELS_WRITE})
    key = StoredKey(sha256=KEY.sha256, scopes=scopes, bounds=bounds, **fields)
    return Door(inference, keys=KeyRing({KEY.key_id: key}), store=FakeStoreVerbs())


# ── context ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_length_that_nobody_asked_for_is_bounded_and_that_is_told() -> None:
    door = opened(bounds=Bounds(max_context=512))
    answer = door.chat(BEARER)
    assert "at most 512 tokens" in answer.headers["x-outpost-warning"]
    request = door.inference.requests[0]
    assert (request.max_context, request.is_max_tokens_default, request.max_tokens) == (512, True, None)


def test_a_length_that_was_asked_for_is_left_for_the_runner_to_refuse() -> None:
    door = opened(bounds=Bounds(max_context=512))
    answer = door.chat(BEARER, max_tokens=600)
    assert "x-outpost-warning" not in answer.headers
    request = door.inference.requests[0]
    assert (request.max_context, request.is_max_tokens_default, request.max_tokens) == (512, False, 600)


def test_the_models_own_default_is_reduced_like_none() -> None:
    inference = FakeInference(defaults=ModelDefaults(max_tokens=700))
    answer = opened(inference, bounds=Bounds(max_context=512)).chat(BEARER)
    assert "at most 512 tokens" in answer.headers["x-outpost-warning"]
    assert inference.requests[0].is_max_tokens_default is True


def test_a_bound_above_the_models_context_changes_nothing() -> None:
    door = opened(bounds=Bounds(max_context=2048))
    assert "x-outpost-warning" not in door.chat(BEARER).headers
    assert door.inference.requests[0].max_context is None


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/embeddings", {"input": "x"}), ("/v1/rerank", {"query": "x", "documents": ["y"]})],
)
def test_inputs_that_are_pooled_are_bounded_too(path: str, body: dict[str, Any]) -> None:
    door = opened(bounds=Bounds(max_context=512))
    assert door.post(path, {"model": MODEL, **body}, BEARER).status_code == 200
    call = door.inference.calls[0]
    assert isinstance(call, Embed | Rerank)
    assert call.max_context == 512


# ── class ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("told", [None, "background", "realtime"])
def test_a_background_key_is_never_urgent_and_a_wish_to_be_is_answered(told: str | None) -> None:
    door = opened(bounds=Bounds(background_only=True))
    answer = door.chat({**BEARER, **({"X-Outpost-Priority": told} if told else {})})
    assert door.inference.turns[0].priority is Priority.BACKGROUND
    assert ("x-outpost-warning" in answer.headers) == (told == "realtime")


# ── models ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_key_may_not_use_is_answered_like_what_is_not_there() -> None:
    door = opened(models=("other",))
    there, absent = door.chat(BEARER), door.chat(BEARER, model="absent")
    assert there.status_code == absent.status_code == 404
    assert there.text.replace(MODEL, "absent") == absent.text
    shown = [door.get(f"/outpost/v1/models/{name}", BEARER) for name in ("tiny", "nothere")]
    assert shown[0].text.replace("tiny", "nothere") == shown[1].text
    assert "tiny" not in shown[1].text


def test_a_stand_in_is_one_that_the_key_may_use() -> None:
    inference = FakeInference(stand_ins={MODEL: "small"})
    answer = opened(inference, models=("fake/*",)).chat(BEARER)
    assert "x-outpost-warning" not in answer.headers


def test_a_stream_that_says_how_it_stands_is_bounded_alike() -> None:
    door = opened(models=("other",))
    answer = door.chat({**BEARER, "X-Outpost-Progress": "1"}, stream=True)
    assert answer.status_code == 404
    bounded = opened(bounds=Bounds(max_context=512))
    events_of(bounded.chat({**BEARER, "X-Outpost-Progress": "1"}, stream=True))
    assert bounded.inference.requests[0].max_context == 512


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"verb": "remove", "name": "tiny"}, 403),
        ({"verb": "copy", "source": "mine", "destination": "tiny"}, 403),
        ({"verb": "copy", "source": "tiny", "destination": "mine"}, 403),
        ({"verb": "pull", "name": "tiny"}, 403),
        ({"verb": "pull", "name": "tiny", "as_name": "tiny:v2"}, 403),
        ({"verb": "push", "name": "tiny", "target": "mine"}, 403),
        ({"verb": "verify"}, 403),
        ({"verb": "verify", "name": "tiny"}, 403),
        ({"verb": "gc"}, 403),
        ({"verb": "create", "name": "mine", "modelfile": "FROM tiny"}, 403),
        ({"verb": "import", "path": "/a.gguf"}, 403),
        ({"verb": "import", "path": "/a.gguf", "name": "mine", "as_name": "tiny"}, 403),
        ({"verb": "optimize", "name": "TINY"}, 403),
        ({"verb": "remove", "name": "tiny@sha256:" + "0" * 64}, 403),
        ({"verb": "pull", "name": "tiny", "as_name": "mine"}, 200),
    ],
)
def test_a_key_for_some_models_changes_no_others(body: dict[str, Any], status: int) -> None:
    answer = opened(models=("mine",)).post("/outpost/v1/operations", body, BEARER)
    assert answer.status_code == status
