"""The engine over a fake backend whose next token depends on all that a slot holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import EngineFault
from appliance.wire.messages import EngineSettings, FinishReason, SetLimits
from tests.fakes.engines import Heard, engine_over, request, run, step_all
from tests.fakes.fake_backend import FakeBackend, FakeClock, expected

SYSTEM = list(range(1, 31))


def written(tokens: list[int]) -> str:
    return "".join(f"<{token}>" for token in tokens)


def test_a_prompt_is_answered_by_what_the_model_says(backend: FakeBackend, clock: FakeClock) -> None:
    heard = run(engine_over(backend, clock), request(1, [5, 6, 7], max_tokens=6))
    assert heard.text(1) == written(expected([5, 6, 7], 6))
    assert heard.last(1).finish_reason is FinishReason.LENGTH
    assert heard.usage(1).completion_tokens == 6


@given(
    prompts=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=40), min_size=1, max_size=9),
    speculates=st.booleans(),
    reuses=st.booleans(),
)
def test_every_request_gets_the_text_it_would_get_alone(
    prompts: list[list[int]], speculates: bool, reuses: bool
) -> None:
    clock = FakeClock()
    backend = FakeBackend(clock=clock, n_slots=3)
    engine = engine_over(backend, clock, EngineSettings(prefix_reuse=reuses))
    heard = run(
        engine,
        *(request(key, prompt, max_tokens=20, speculates=speculates) for key, prompt in enumerate(prompts)),
    )
    for key, prompt in enumerate(prompts):
        assert heard.text(key) == written(expected(prompt, min(20, 64 - len(prompt))))


def test_a_second_request_computes_only_what_the_first_did_not(
    backend: FakeBackend, clock: FakeClock
) -> None:
    engine = engine_over(backend, clock)
    run(engine, request(1, [*SYSTEM, 40, 41]))
    heard = run(engine, request(2, [*SYSTEM, 50, 51]))
    assert heard.usage(2).cached_tokens == len(SYSTEM)
    assert heard.text(2) == written(expected([*SYSTEM, 50, 51], 6))


def test_simultaneous_requests_compute_a_common_prefix_once(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=8, per_token_s=0.01)
    engine = engine_over(backend, clock)
    prompts = {key: [*SYSTEM, 40 + key, 60] for key in range(8)}
    heard = run(engine, *(request(key, prompt) for key, prompt in prompts.items()))
    assert engine.stats().prompt_tokens == len(SYSTEM) + 2 + 7 * 2
    for key, prompt in prompts.items():
        assert heard.text(key) == written(expected(prompt, 6))


def test_choices_of_one_request_share_their_prompt(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, per_token_s=0.01)
    heard = run(engine_over(backend, clock), request(1, SYSTEM, n=3))
    assert {heard.text(1, choice) for choice in range(3)} == {written(expected(SYSTEM, 6))}
    assert heard.usage(1).completion_tokens == 18


def test_prefixes_are_not_reused_across_scopes(backend: FakeBackend, clock: FakeClock) -> None:
    engine = engine_over(backend, clock)
    run(engine, request(1, [*SYSTEM, 40], scope="alice"))
    heard = run(engine, request(2, [*SYSTEM, 50], scope="bob"))
    assert heard.usage(2).cached_tokens == 0


def test_a_prefix_declared_shared_is_reused_across_scopes(backend: FakeBackend, clock: FakeClock) -> None:
    engine = engine_over(backend, clock)
    run(engine, request(1, [*SYSTEM, 40], scope="alice", shared=True))
    heard = run(engine, request(2, [*SYSTEM, 50], scope="bob"))
    assert heard.usage(2).cached_tokens == len(SYSTEM)


def test_the_answer_to_a_shared_prompt_stays_in_its_scope(backend: FakeBackend, clock: FakeClock) -> None:
    engine = engine_over(backend, clock)
    first = run(engine, request(1, SYSTEM, scope="alice", shared=True, max_tokens=8))
    assert first.text(1)
    conversation = [*SYSTEM, *expected(SYSTEM, 8), 3]
    heard = run(engine, request(2, conversation, scope="bob"))
    assert heard.usage(2).cached_tokens == len(SYSTEM)


def test_memory_that_cannot_be_cut_is_computed_again(backend: FakeBackend, clock: FakeClock) -> None:
    backend.can_cut = False
    engine = engine_over(backend, clock)
    run(engine, request(1, [*SYSTEM, 40], speculates=False))
    heard = run(engine, request(2, [*SYSTEM, 50], speculates=False))
    assert heard.usage(2).cached_tokens == 0
    assert heard.text(2) == written(expected([*SYSTEM, 50], 6))


def test_cancel_in_the_middle_of_a_prefill_frees_the_slot_before_the_next_step(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=1, per_token_s=0.05)
    engine = engine_over(backend, clock)
    heard = Heard()
    engine.submit(request(1, SYSTEM))
    heard.take(engine.step())
    assert engine.has_work()
    heard.take(engine.cancel(1))
    assert not engine.has_work()
    assert heard.last(1).finish_reason is FinishReason.CANCELLED
    assert heard.usage(1).completion_tokens == 0
    engine.kv_cache.check()


def test_cancel_of_an_unknown_request_says_nothing(backend: FakeBackend, clock: FakeClock) -> None:
    assert engine_over(backend, clock).cancel(99) == []


def test_the_request_that_waited_for_a_cancelled_prefix_goes_on_by_itself(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, per_token_s=0.05)
    engine = engine_over(backend, clock)
    heard = Heard()
    engine.submit(request(1, [*SYSTEM, 40]))
    engine.submit(request(2, [*SYSTEM, 50]))
    heard.take(engine.step())
    heard.take(engine.cancel(1))
    step_all(engine, heard)
    assert heard.text(2) == written(expected([*SYSTEM, 50], 6))


def test_a_failed_decode_fails_its_requests_and_the_next_ones_live(
    backend: FakeBackend, clock: FakeClock
) -> None:
    engine = engine_over(backend, clock)
    backend.fail_next = 1
    heard = run(engine, request(1, SYSTEM))
    assert [failed.error.name for failed in heard.failed] == ["EngineFault"]
    assert run(engine, request(2, SYSTEM)).text(2) == written(expected(SYSTEM, 6))


def test_decodes_that_keep_failing_end_the_engine(backend: FakeBackend, clock: FakeClock) -> None:
    engine = engine_over(backend, clock)
    backend.fail_next = 3
    for key in range(2):
        run(engine, request(key, SYSTEM))
    engine.submit(request(3, SYSTEM))
    with pytest.raises(EngineFault):
        engine.step()


def test_a_stop_string_ends_the_text_before_it(backend: FakeBackend, clock: FakeClock) -> None:
    tokens = expected([5, 6], 6)
    heard = run(engine_over(backend, clock), request(1, [5, 6], stop=[f"{tokens[2]}><{tokens[3]}"]))
    assert heard.text(1) == written(tokens[:2]) + "<"
    assert heard.last(1).finish_reason is FinishReason.STOP
    assert heard.last(1).stop == f"{tokens[2]}><{tokens[3]}"


def test_generation_ends_where_the_context_ends(backend: FakeBackend, clock: FakeClock) -> None:
    prompt = [1 + token % 90 for token in range(60)]
    heard = run(engine_over(backend, clock), request(1, prompt, max_tokens=1000))
    assert heard.text(1) == written(expected(prompt, 4))
    assert heard.last(1).finish_reason is FinishReason.LENGTH


def test_sets_of_adapters_never_meet_in_one_batch(backend: FakeBackend, clock: FakeClock) -> None:
    engine = engine_over(backend, clock)
    heard = run(
        engine,
        request(1, SYSTEM, adapters=(("tuned", 1.0),)),
        request(2, SYSTEM),
        request(3, SYSTEM, adapters=(("tuned", 1.0),)),
    )
    for key in (1, 2, 3):
        assert heard.text(key) == written(expected(SYSTEM, 6))
    assert heard.usage(2).cached_tokens == 0


def test_a_limit_on_running_sequences_is_kept(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock)
    engine.set_limits(SetLimits(max_running=1))
    run(engine, *(request(key, [key + 1, 2, 3]) for key in range(4)))
    assert max(len(batch) for batch in backend.batches) == 1


def test_a_token_budget_is_kept(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock)
    engine = engine_over(backend, clock)
    engine.set_limits(SetLimits(token_budget=5))
    run(engine, *(request(key, [key + 1, *SYSTEM]) for key in range(4)))
    assert max(sum(len(span.tokens) for span in batch) for batch in backend.batches) <= 5


def test_running_sequences_end_up_in_neighbouring_slots(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_slots=8)
    engine = engine_over(backend, clock)
    heard = Heard()
    for key in range(8):
        engine.submit(request(key, [key + 1, 9, 9], max_tokens=40))
    for _ in range(5):
        heard.take(engine.step())
    for key in (1, 2, 4, 5, 6):
        heard.take(engine.cancel(key))
    step_all(engine, heard)
    slots = [span.slot for span in backend.batches[-1]]
    assert slots == list(range(slots[0], slots[0] + len(slots)))
    for key in (0, 3, 7):
        assert heard.text(key) == written(expected([key + 1, 9, 9], 40))


def test_a_step_stays_under_its_bound_once_costs_are_known(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_ctx_seq=4096, per_token_s=0.01)
    engine = engine_over(backend, clock)
    prompt = [1 + token % 90 for token in range(2000)]
    engine.submit(request(1, prompt, n_ctx_seq=4096))
    longest_s = 0.0
    while engine.has_work():
        began_s = clock.now_s
        engine.step()
        longest_s = max(longest_s, clock.now_s - began_s)
    assert longest_s <= 0.27


def test_a_long_prefill_at_most_doubles_the_gap_of_a_running_stream(clock: FakeClock) -> None:
    backend = FakeBackend(clock=clock, n_ctx_seq=4096, per_token_s=0.001, per_pass_s=0.007)
    engine = engine_over(backend, clock)
    heard = Heard()
    engine.submit(request(1, [1, 2, 3], max_tokens=600, n_ctx_seq=4096, speculates=False))
    for _ in range(60):
        heard.take(engine.step())
    engine.submit(request(2, [1 + token % 90 for token in range(200)], n_ctx_seq=4096))
    gaps: list[float] = []
    while not any(delta.id == 2 for delta in heard.deltas):
        began_s, deltas = clock.now_s, len(heard.deltas)
        heard.take(engine.step())
        assert len(heard.deltas) > deltas, "the stream did not move"
        gaps.append(clock.now_s - began_s)
    assert max(gaps) <= 2 * 0.008
