"""Embeddings and rerank over llama.cpp: the numbers do not depend on what shares the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from appliance.wire.messages import Embed, Rerank, Result, Tokenize
from tests.fakes.tiny_gguf import write_embedder, write_encoder
from tests.integration.llama_desk import Desk

pytestmark = pytest.mark.integration

POOLING = gguf.PoolingType
TEXTS = ["hello world", "the cat", "a much longer text about the world and the cat", "9", "hello hello"]
KINDS = ["encoder mean", "encoder cls", "causal last", "causal mean"]


@pytest.fixture(params=KINDS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    kind, pooling = request.param.split()
    write = write_encoder if kind == "encoder" else write_embedder
    with Desk(write(tmp_path / "m.gguf", pooling=getattr(POOLING, pooling.upper())), n_ctx_seq=256) as made:
        yield made


@pytest.fixture
def ranker(tmp_path: Path) -> Iterator[Desk]:
    with Desk(write_encoder(tmp_path / "rank.gguf", pooling=POOLING.RANK), n_ctx_seq=256) as made:
        yield made


def vectors(result: Result) -> list[NDArray[np.float32]]:
    return [np.frombuffer(packed, "<f4") for packed in result.vectors]


def embed(desk: Desk, texts: list[str], *, normalize: bool = True) -> list[NDArray[np.float32]]:
    return vectors(desk.call(Embed(id=desk.next_id(), inputs=list(texts), normalize=normalize)))


def test_vectors_have_length_one(desk: Desk) -> None:
    for vector in embed(desk, TEXTS):
        assert vector.shape == (64,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_its_batch(desk: Desk) -> None:
    together = embed(desk, TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(embed(desk, [text])[0], vector, atol=2e-5)


def test_simultaneous_requests_get_their_own_vectors(desk: Desk) -> None:
    ids = [desk.begin(Embed(id=desk.next_id(), inputs=[text])) for text in TEXTS]
    desk.finish()
    for key, text in zip(ids, TEXTS, strict=True):
        np.testing.assert_allclose(vectors(desk.result(key))[0], embed(desk, [text])[0], atol=2e-5)


def test_different_texts_have_different_vectors(desk: Desk) -> None:
    first, second = embed(desk, TEXTS[:2])
    assert float(first @ second) < 0.999


def test_raw_vectors_are_the_normalised_ones_times_their_length(desk: Desk) -> None:
    raw, unit = embed(desk, TEXTS[:1], normalize=False)[0], embed(desk, TEXTS[:1])[0]
    np.testing.assert_allclose(raw / np.linalg.norm(raw), unit, atol=1e-5)


def test_tokens_are_an_input_as_well(desk: Desk) -> None:
    tokens = desk.call(Tokenize(id=desk.next_id(), text=TEXTS[0], add_special=True)).tokens
    result = desk.call(Embed(id=desk.next_id(), inputs=[tokens]))
    np.testing.assert_allclose(vectors(result)[0], embed(desk, [TEXTS[0]])[0], atol=2e-5)
    assert result.prompt_tokens == len(tokens)


def test_an_input_that_fills_the_context_is_embedded(desk: Desk) -> None:
    (vector,) = vectors(desk.call(Embed(id=desk.next_id(), inputs=[[7] * 256])))
    assert np.isfinite(vector).all()


def test_an_over_long_input_is_refused_with_both_counts(desk: Desk) -> None:
    with pytest.raises(ContextLengthExceeded) as refused:
        desk.call(Embed(id=desk.next_id(), inputs=[[7] * 257]))
    assert refused.value.fields["prompt_tokens"] == 257
    assert refused.value.fields["limit_tokens"] == 256


def test_an_input_beyond_what_the_caller_may_use_is_refused_or_cut_as_asked(desk: Desk) -> None:
    with pytest.raises(ContextLengthExceeded, match="this key may use 64 tokens"):
        desk.call(Embed(id=desk.next_id(), inputs=[[7] * 65], max_context=64))
    cut = desk.call(Embed(id=desk.next_id(), inputs=[[7] * 65], truncate=True, max_context=64))
    whole = desk.call(Embed(id=desk.next_id(), inputs=[[7] * 64], max_context=64))
    np.testing.assert_allclose(vectors(cut)[0], vectors(whole)[0], atol=2e-5)


def test_an_over_long_input_is_cut_only_when_asked(desk: Desk) -> None:
    cut = desk.call(Embed(id=desk.next_id(), inputs=[[7] * 300], truncate=True))
    whole = desk.call(Embed(id=desk.next_id(), inputs=[[7] * 256]))
    np.testing.assert_allclose(vectors(cut)[0], vectors(whole)[0], atol=2e-5)


@pytest.mark.parametrize("inputs", [[[]], [[10_000]], [[-1]]])
def test_inputs_that_are_none_are_refused_by_their_place(desk: Desk, inputs: list[str | list[int]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        desk.call(Embed(id=desk.next_id(), inputs=inputs))
    assert refused.value.param == "input.0"


def test_an_embedding_model_generates_and_ranks_nothing(desk: Desk) -> None:
    with pytest.raises(Unsupported):
        desk.generate("Hello")
    with pytest.raises(Unsupported):
        desk.call(Rerank(id=desk.next_id(), query="a", documents=["b"]))


def test_the_pooling_of_the_placement_goes_before_the_file(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "m.gguf", pooling=POOLING.MEAN)
    with Desk(path, n_ctx_seq=256, pooling="cls") as cls, Desk(path, n_ctx_seq=256) as mean:
        assert (cls.engine.facts.pooling, mean.engine.facts.pooling) == ("cls", "mean")
        assert not np.allclose(embed(cls, TEXTS[:1])[0], embed(mean, TEXTS[:1])[0], atol=1e-3)


# ── rerank ──────────────────────────────────────────────────────────────────────────────────────────────────


def rank(desk: Desk, query: str, documents: list[str]) -> list[float]:
    return desk.call(Rerank(id=desk.next_id(), query=query, documents=documents)).scores


def test_every_document_gets_a_finite_score(ranker: Desk) -> None:
    scores = rank(ranker, "hello", TEXTS)
    assert len(scores) == len(TEXTS)
    assert all(math.isfinite(score) for score in scores)
    assert len({round(score, 4) for score in scores}) > 1


def test_a_score_does_not_depend_on_the_other_documents(ranker: Desk) -> None:
    together = rank(ranker, "hello", TEXTS)
    for text, score in zip(TEXTS, together, strict=True):
        assert rank(ranker, "hello", [text]) == [pytest.approx(score, abs=2e-4)]


def test_a_score_depends_on_the_query(ranker: Desk) -> None:
    assert rank(ranker, "hello", TEXTS) != rank(ranker, "the cat of the world", TEXTS)


def test_a_pair_beyond_the_context_is_refused(ranker: Desk) -> None:
    with pytest.raises(ContextLengthExceeded):
        rank(ranker, "a" * 200, ["b" * 200])


def test_a_ranking_model_embeds_nothing(ranker: Desk) -> None:
    with pytest.raises(Unsupported):
        ranker.call(Embed(id=ranker.next_id(), inputs=["hello"]))
