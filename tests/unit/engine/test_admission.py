"""Who waits and who runs, seen through the engine."""

from __future__ import annotations

import msgspec
import pytest

from appliance.engine.sequence import ActiveRequest
from appliance.wire.messages import EngineSettings, SetLimits
from tests.fakes.engines import Heard, engine_over, request, run, step_all
from tests.fakes.fake_backend import FakeBackend, FakeClock, expected

SYSTEM = list(range(1, 31))


def uncached(prepared: ActiveRequest) -> ActiveRequest:
    prepared.generate = msgspec.structs.replace(prepared.generate, cache_prompt=False)
    return prepared


def written(tokens: list[int]) -> str:
    return "".join(f"<{token}>" for token in tokens)


def test_a_request_that_wants_no_cache_computes_its_whole_prompt(clock: FakeClock) -> None:
    engine = engine_over(FakeBackend(clock=clock), clock)
    run(engine, request(1, SYSTEM, shared=True))
    heard = run(engine, uncached(request(2, SYSTEM)))
    assert heard.usage(2).cached_tokens == 0


def test_what_a_request_without_cache_leaves_is_not_reused(clock: FakeClock) -> None:
    engine = engine_over(FakeBackend(clock=clock), clock)
    run(engine, uncached(request(1, SYSTEM, shared=True)))
    assert run(engine, request(2, SYSTEM)).usage(2).cached_tokens == 0


def test_without_prefix_reuse_nothing_is_announced_as_cached(clock: FakeClock) -> None:
    engine = engine_over(FakeBackend(clock=clock), clock, EngineSettings(prefix_reuse=False))
    run(engine, request(1, SYSTEM))
    (accepted,) = engine.submit(request(2, SYSTEM))
    assert accepted.cached_tokens == 0  # type: ignore[union-attr]


def test_a_limit_of_no_sequence_lets_running_ones_end_and_starts_none(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock)
    heard = Heard()
    engine.submit(request(1, [5, 6, 7]))
    heard.take(engine.step())
    engine.set_limits(SetLimits(max_running=0))
    engine.submit(request(2, [8, 9]))
    step_all(engine, heard)
    assert heard.usage(1).completion_tokens == 6
    assert not heard.text(2)
    assert engine.stats().waiting == 1
    engine.set_limits(SetLimits())
    step_all(engine, heard)
    assert heard.text(2) == written(expected([8, 9], 6))


def test_one_that_waits_for_a_prefix_lets_others_pass(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, per_token_s=0.05)
    engine = engine_over(backend, clock)
    engine.submit(request(1, [*SYSTEM, 40]))
    engine.submit(request(2, [*SYSTEM, 50]))
    engine.submit(request(3, [70, 71, 72], scope="bob"))
    engine.step()
    assert [sequence.request.id for sequence in engine._admission.running] == [1, 3]


def test_a_slot_that_was_taken_by_another_is_not_waited_for(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=2, per_token_s=0.05)
    engine = engine_over(backend, clock)
    heard = Heard()
    engine.submit(request(1, [*SYSTEM, 40]))
    engine.submit(request(2, [*SYSTEM, 50], max_tokens=2))
    heard.take(engine.step())
    heard.take(engine.cancel(1))
    # Its slot goes to a stranger with a long prompt before 2 is looked at again.
    engine._admission.waiting.appendleft(request(3, [60 + token % 30 for token in range(50)]).sequences[0])
    stranger = engine._admission.waiting[0]
    engine._requests[3] = stranger.request
    heard.take(engine.step())
    assert 2 in [sequence.request.id for sequence in engine._admission.running]
    step_all(engine, heard)
    assert heard.text(2) == written(expected([*SYSTEM, 50], 2))


def test_closing_cancels_what_runs_and_frees_what_is_below(clock: FakeClock) -> None:
    closed: list[bool] = []
    engine = engine_over(FakeBackend(clock=clock), clock)
    engine._close = lambda: closed.append(True)
    prepared = request(1, SYSTEM)
    engine.submit(prepared)
    engine.step()
    engine.close()
    assert closed == [True]
    assert not engine.has_work()
    assert prepared.sequences[0].sampler.closed  # type: ignore[attr-defined]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_run_than_allowed(clock: FakeClock, most: int) -> None:
    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock)
    engine.set_limits(SetLimits(max_running=most))
    heard = run(engine, *(request(key, [key + 1, 2, 3]) for key in range(6)))
    assert max(len(batch) for batch in backend.batches) == most
    assert all(heard.usage(key).completion_tokens == 6 for key in range(6))


def test_copies_of_a_prefix_take_no_longer_than_a_step(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=8)
    engine = engine_over(backend, clock, EngineSettings(step_bound_s=0.25))
    run(engine, request(1, [*SYSTEM, 40]))
    engine.kv_cache.copy_s_per_cell = 0.0035  # a prefix of 30 tokens takes 0.1 s
    for key in range(2, 9):
        engine.submit(request(key, [*SYSTEM, 40 + key]))
    began = [len(list(engine._admission.admit(most=None, now=9, per_token_s=1.0, bound_s=0.25)))]
    engine.kv_cache.copy_s_per_cell = 0.0035
    began.append(len(list(engine._admission.admit(most=None, now=10, per_token_s=1.0, bound_s=0.25))))
    assert began == [4, 3]  # copies of the fake take no time, so the estimate falls


def test_choices_of_one_request_share_its_prompt_even_where_it_wants_no_cache(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock)
    run(engine, uncached(request(1, SYSTEM, n=3)))
    assert engine.stats().prompt_tokens == len(SYSTEM) + 2  # of the second and third, the last token
