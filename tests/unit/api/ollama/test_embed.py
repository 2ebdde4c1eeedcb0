"""POST /api/embed and /api/embeddings over a fake Inference."""

from __future__ import annotations

import math
from typing import Any

import falcon.testing
import pytest

from appliance.api.ollama.embed import shortened
from appliance.errors import ContextLengthExceeded
from appliance.wire.messages import Embed
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import Door
from tests.unit.api.ollama.asked import refusal, warning


@pytest.fixture
def door() -> Door:
    return Door()


def embed(door: Door, **fields: Any) -> falcon.testing.Result:
    return door.post("/api/embed", {"model": MODEL, **fields})


def asked(door: Door) -> Embed:
    call = door.inference.calls[-1]
    assert isinstance(call, Embed)
    return call


def test_a_text_and_a_list_of_texts_have_a_vector_each(door: Door) -> None:
    told = embed(door, input=["a", "b"]).json
    assert told["embeddings"] == [[0.0, 0.5, -0.25, 1.0], [1.0, 0.5, -0.25, 1.0]]
    assert (told["model"], told["prompt_eval_count"]) == (MODEL, 10)
    assert told["total_duration"] > 0
    assert embed(door, input="a").json["embeddings"] == [[0.0, 0.5, -0.25, 1.0]]


def test_nothing_is_cut_unless_it_is_asked_for(door: Door) -> None:
    embed(door, input="a")
    assert asked(door).truncate is False
    embed(door, input="a", truncate=True)
    assert asked(door).truncate is True


def test_an_input_that_is_too_long_is_told_in_ollamas_words(door: Door) -> None:
    door.inference.refuse = ContextLengthExceeded(prompt_tokens=9, limit_tokens=8)
    status, text = refusal(embed(door, input="a"))
    assert (status, text.startswith("the input length exceeds the context length")) == (400, True)


@pytest.mark.parametrize("empty", [{"input": ""}, {"input": []}, {"input": None}, {}])
def test_nothing_to_embed_loads_the_model(door: Door, empty: dict[str, Any]) -> None:
    assert embed(door, **empty).json == {"model": MODEL, "embeddings": []}
    assert (door.inference.calls, len(door.inference.owners)) == ([], 1)


def test_one_of_several_that_is_empty_is_refused_by_its_place(door: Door) -> None:
    assert refusal(embed(door, input=["a", ""])) == (400, "input.1: an input is empty")


@pytest.mark.parametrize("wrong", [5, [1, 2], [["a"]], {"a": 1}, ["a", None], True])
def test_anything_but_text_is_refused(door: Door, wrong: object) -> None:
    assert refusal(embed(door, input=wrong)) == (400, "input: invalid input type")


def test_fewer_dimensions_are_the_first_ones_of_length_one() -> None:
    assert shortened([3.0, 4.0, 5.0], 2) == [0.6, 0.8]
    assert shortened([0.0, 0.0], 1) == [0.0]
    for all_of_them in (0, 2, 3):
        assert shortened([3.0, 4.0], all_of_them) == [3.0, 4.0]


def test_dimensions_are_honoured_and_too_many_are_named(door: Door) -> None:
    (vector,) = embed(door, input="a", dimensions=2).json["embeddings"]
    assert len(vector) == 2
    assert math.isclose(math.hypot(*vector), 1.0)
    answer = embed(door, input="a", dimensions=99)
    assert len(answer.json["embeddings"][0]) == 4
    assert "this model has 4" in warning(answer)


def test_the_older_form_has_one_vector(door: Door) -> None:
    body = {"model": MODEL, "prompt": "a"}
    assert door.post("/api/embeddings", body).json == {"embedding": [0.0, 0.5, -0.25, 1.0]}
    assert door.post("/api/embeddings", {"model": MODEL, "prompt": ""}).json == {"embedding": []}


@pytest.mark.parametrize("route", ["/api/embed", "/api/embeddings"])
def test_an_unknown_model_is_told_in_the_words_of_these_routes(door: Door, route: str) -> None:
    body = {"model": "nope", "input": "a", "prompt": "a"}
    assert refusal(door.post(route, body)) == (404, 'model "nope" not found, try pulling it first')
