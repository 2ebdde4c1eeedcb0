"""/v1/embeddings and /v1/rerank."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from appliance.wire.messages import Embed, Rerank
from tests.fakes.fake_inference import DIMENSIONS, MODEL
from tests.unit.api.door import Door, refusal


def embed(door: Door | None = None, **fields: Any) -> Any:
    return (door or Door()).post("/v1/embeddings", {"model": MODEL, "input": "a", **fields})


def rerank(door: Door | None = None, **fields: Any) -> Any:
    return (door or Door()).post("/v1/rerank", {"model": MODEL, "query": "q", **fields})


@pytest.mark.parametrize(
    ("told", "means"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_an_input_is_text_or_token_ids(told: object, means: list[object]) -> None:
    door = Door()
    assert embed(door, input=told).status_code == 200
    assert door.inference.calls == [Embed(id=0, inputs=means)]  # type: ignore[arg-type]


def test_floats_and_base64_are_the_same_numbers() -> None:
    floats = embed(input=["a", "b"], encoding_format="float").json
    packed = embed(input=["a", "b"], encoding_format="base64").json
    assert floats["data"][1] == {"object": "embedding", "index": 1, "embedding": [1.0, 0.5, -0.25, 1.0]}
    raw = base64.b64decode(packed["data"][1]["embedding"])
    assert list(struct.unpack("<4f", raw)) == floats["data"][1]["embedding"]
    assert floats["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert floats["object"] == "list"
    assert floats["model"] == MODEL


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": ""}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input.1", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [1.5]}, "input.0", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"dimensions": 5}, "dimensions", "unsupported_parameter"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"task": "x"}, "task", "unsupported_parameter"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    assert refusal(embed(**fields)) == (400, param, code)


def test_the_models_own_dimensions_and_2048_inputs_are_fine() -> None:
    assert embed(dimensions=DIMENSIONS, input=["a"] * 2048, truncate=True).status_code == 200


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_fewer_dimensions_are_the_first_ones_of_length_one_and_it_is_said(encoding: str) -> None:
    answer = embed(dimensions=2, input=["a", "b"], encoding_format=encoding)
    vector = answer.json["data"][1]["embedding"]
    if encoding == "base64":
        vector = struct.unpack("<2f", base64.b64decode(vector))
    assert vector == pytest.approx([1 / 1.25**0.5, 0.5 / 1.25**0.5])
    assert "'dimensions': cut from 4" in answer.headers["x-outpost-warning"]


def test_a_cut_that_leaves_nothing_is_zero_and_not_a_fault() -> None:
    vector = embed(dimensions=1, encoding_format="float").json["data"][0]["embedding"]
    assert vector == [0.0]


def test_a_rerank_is_sorted_by_score() -> None:
    told = rerank(documents=["aa", {"text": "bbbb"}, "c"]).json
    assert told["results"] == [
        {"index": 1, "relevance_score": 4.0},
        {"index": 0, "relevance_score": 2.0},
        {"index": 2, "relevance_score": 1.0},
    ]
    assert told["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_a_rerank_can_be_cut_and_bring_its_documents() -> None:
    door = Door()
    told = rerank(door, documents=["aa", "bbbb"], top_n=1, return_documents=True).json
    assert told["results"] == [{"index": 1, "relevance_score": 4.0, "document": {"text": "bbbb"}}]
    assert door.inference.calls == [Rerank(id=0, query="q", documents=["aa", "bbbb"])]


def test_texts_are_answered_as_tei_does() -> None:
    told = rerank(texts=["aa", "bbbb"]).json
    assert told == [{"index": 1, "score": 4.0}, {"index": 0, "score": 2.0}]
    assert rerank(texts=["aa"], return_text=True).json == [{"index": 0, "score": 2.0, "text": "aa"}]


@pytest.mark.parametrize("route", ["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"])
def test_every_name_of_the_route_answers_and_the_model_may_be_left_out(route: str) -> None:
    told = Door().post(route, {"query": "q", "documents": ["a"]}).json
    assert told["model"] == MODEL
    assert told["results"] == [{"index": 0, "relevance_score": 1.0}]


@pytest.mark.parametrize("fields", [{}, {"documents": ["a"], "texts": ["a"]}])
def test_a_rerank_needs_documents_once(fields: dict[str, Any]) -> None:
    assert refusal(rerank(**fields)) == (400, "documents", "invalid_value")


def test_tokens_there_and_back() -> None:
    door = Door()
    assert door.post("/tokenize", {"content": "hé"}).json == {"tokens": [104, 195]}
    told = door.post("/tokenize", {"content": "h", "with_pieces": True, "model": MODEL}).json
    assert told == {"tokens": [{"id": 104, "piece": "h"}]}
    assert door.post("/detokenize", {"tokens": [104, 105]}).json == {"content": "hi"}


def test_tokens_of_a_model_that_is_not_here_are_404() -> None:
    assert refusal(Door().post("/tokenize", {"content": "x", "model": "nope"}))[0] == 404
