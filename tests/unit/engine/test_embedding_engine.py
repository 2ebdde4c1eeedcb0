from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.embedding_engine import EmbeddingEngine, PoolingRequest
from appliance.wire.messages import Failed, Result, SetLimits
from tests.fakes.engines import FACTS, fake_meter
from tests.fakes.fake_backend import FakeClock
from tests.fakes.fake_pooling import WIDTH, FakePooling, vector_of

INPUTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=16), min_size=1, max_size=9)


def engine_over(backend: FakePooling, *, ranks: bool = False, bound_s: float = 60.0) -> EmbeddingEngine:
    return EmbeddingEngine(
        backend,
        facts=FACTS,
        width=1 if ranks else WIDTH,
        meter=fake_meter(FakeClock()),
        prepare=lambda request, _: request,
        step_bound_s=bound_s,
    )


def embed(key: int, inputs: list[list[int]], *, normalize: bool = False) -> PoolingRequest:
    return PoolingRequest(id=key, inputs=inputs, ranks=False, normalize=normalize)


def run(engine: EmbeddingEngine, *requests: PoolingRequest) -> dict[int, Result | Failed]:
    said = [one for request in requests for one in engine.submit(request)]
    for _ in range(200):
        if not engine.has_work():
            break
        said.extend(engine.step())
    assert not engine.has_work()
    return {one.id: one for one in said if isinstance(one, (Result, Failed))}


def vectors(result: Result | Failed) -> list[list[float]]:
    assert isinstance(result, Result)
    return [np.frombuffer(packed, "<f4").tolist() for packed in result.vectors]


@given(requests=st.lists(INPUTS, min_size=1, max_size=5))
def test_every_request_gets_the_vectors_of_its_inputs_in_order(requests: list[list[list[int]]]) -> None:
    backend = FakePooling()
    heard = run(engine_over(backend), *(embed(key, inputs) for key, inputs in enumerate(requests)))
    for key, inputs in enumerate(requests):
        assert vectors(heard[key]) == [vector_of(tokens) for tokens in inputs]


def test_inputs_of_several_requests_share_a_batch() -> None:
    backend = FakePooling(n_slots=4)
    run(engine_over(backend), embed(1, [[1], [2]]), embed(2, [[3], [4]]))
    assert backend.batches == [[[1], [3], [2], [4]]]


def test_a_long_list_does_not_keep_a_short_one_waiting() -> None:
    backend = FakePooling(n_slots=2)
    engine = engine_over(backend)
    engine.submit(embed(1, [[1]] * 100))
    engine.submit(embed(2, [[2]]))
    assert [one.id for one in engine.step() if isinstance(one, Result)] == [2]


def test_a_batch_takes_no_longer_than_the_bound_but_for_a_single_input() -> None:
    backend = FakePooling(n_slots=8, n_batch=64)
    engine = engine_over(backend, bound_s=0.25)  # at the start values, 0.02 s a pass and a token
    engine.submit(embed(1, [[1] * 30, [2] * 6, [3] * 5, [4] * 5]))
    assert engine.expected_s() == pytest.approx(31 * 0.02)
    engine.step()
    assert backend.batches == [[[1] * 30]]


@given(requests=st.lists(INPUTS, min_size=1, max_size=5), bound_s=st.floats(0.0, 0.3))
def test_no_batch_is_planned_over_the_bound(requests: list[list[list[int]]], bound_s: float) -> None:
    backend = FakePooling()
    engine = engine_over(backend, bound_s=bound_s)
    for key, inputs in enumerate(requests):
        engine.submit(embed(key, inputs))
    most = engine.cost.tokens_within(bound_s)
    engine.step()
    (batch,) = backend.batches
    assert len(batch) == 1 or sum(map(len, batch)) <= most


def test_a_batch_holds_no_more_than_the_pass() -> None:
    backend = FakePooling(n_batch=5)
    run(engine_over(backend), embed(1, [[1, 1, 1], [2, 2, 2], [3, 3]]))
    assert backend.batches == [[[1, 1, 1]], [[2, 2, 2], [3, 3]]]


def test_vectors_are_normalised_on_request() -> None:
    heard = run(engine_over(FakePooling()), embed(1, [[1, 2, 3]], normalize=True))
    assert np.linalg.norm(vectors(heard[1])[0]) == pytest.approx(1)


def test_a_vector_of_zeros_stays_one() -> None:
    backend = FakePooling()
    heard = run(
        engine_over(backend, ranks=True),
        PoolingRequest(id=1, inputs=[[0]], ranks=False, normalize=True),
    )
    assert vectors(heard[1]) == [[0.0]]


def test_a_reranker_answers_with_scores() -> None:
    request = PoolingRequest(id=1, inputs=[[4, 4], [9]], ranks=True, normalize=False)
    result = run(engine_over(FakePooling(), ranks=True), request)[1]
    assert isinstance(result, Result)
    assert (result.scores, result.vectors, result.prompt_tokens) == ([8.0, 9.0], [], 3)


def test_a_request_without_inputs_is_answered_at_once() -> None:
    engine = engine_over(FakePooling())
    assert list(engine.submit(embed(1, []))) == [Result(id=1)]
    assert not engine.has_work()


def test_a_cancelled_request_is_not_computed() -> None:
    backend = FakePooling(n_slots=1)
    engine = engine_over(backend)
    engine.submit(embed(1, [[1], [2]]))
    engine.submit(embed(2, [[3]]))
    engine.step()
    (last,) = engine.cancel(1)
    assert isinstance(last, Failed)
    assert (last.id, last.error.name) == (1, "ClientGone")
    said = engine.step()
    assert [one.id for one in said if isinstance(one, Result)] == [2]
    assert backend.batches == [[[1]], [[3]]]
    assert not engine.has_work()


def test_cancel_of_an_unknown_request_says_nothing() -> None:
    assert engine_over(FakePooling()).cancel(7) == []


def test_a_failed_batch_fails_its_requests_and_no_other() -> None:
    backend = FakePooling(n_slots=1)
    backend.fail_next = 1
    heard = run(engine_over(backend), embed(1, [[1], [2], [3]]), embed(2, [[4]]))
    failed = heard[1]
    assert isinstance(failed, Failed) and failed.error.name == "EngineFault"
    assert vectors(heard[2]) == [vector_of([4])]


def test_work_is_counted() -> None:
    engine = engine_over(FakePooling(n_slots=1))
    engine.submit(embed(1, [[1, 1], [2]]))
    assert (engine.stats().running, engine.stats().waiting) == (1, 2)
    engine.step()
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.steps, stats.prompt_tokens) == (1, 1, 1, 2)


def test_heat_makes_batches_smaller_but_never_empty() -> None:
    engine = engine_over(FakePooling(n_slots=4))
    engine.set_limits(SetLimits(token_budget=2))
    engine.submit(embed(1, [[1], [2], [3], [4, 5, 6]]))
    engine.step()
    assert engine.stats().waiting == 2
    engine.step()
    engine.step()
    assert engine.stats().waiting == 0
