"""The draft model over the fake backend: its guesses are the backend's, whatever happened before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.draft import DraftModel
from appliance.engine.kv_cache import Scope
from appliance.engine.speculation import Wanted
from tests.fakes.engines import engine_over, fake_meter, request, run
from tests.fakes.fake_backend import END, FakeBackend, FakeClock, expected

ALICE = Scope("alice")
PROMPT = list(range(1, 31))


def written(tokens: list[int]) -> str:
    return "".join(f"<{token}>" for token in tokens)


def draft_model(backend: FakeBackend, clock: FakeClock | None = None) -> DraftModel:
    model = DraftModel(backend, is_end=lambda token: token == END, meter=fake_meter(clock or FakeClock()))
    model.warm_up(1)
    backend.batches.clear()
    return model


def wanted(key: int, tokens: list[int], longest: int = 4) -> Wanted:
    return Wanted(key=key, scope=ALICE, tokens=tokens, longest=longest)


def computed(backend: FakeBackend) -> int:
    return sum(len(span.tokens) for batch in backend.batches for span in batch)


def test_guesses_are_what_the_model_would_say() -> None:
    model = draft_model(FakeBackend())
    assert model.propose([wanted(1, PROMPT)], {1}) == {1: expected(PROMPT, 4)}


def test_sequences_are_guessed_together() -> None:
    backend = FakeBackend()
    model = draft_model(backend)
    prompts = {key: [key, *PROMPT] for key in (1, 2, 3)}
    drafts = model.propose([wanted(key, prompt, key) for key, prompt in prompts.items()], {1, 2, 3})
    assert drafts == {key: expected(prompt, key) for key, prompt in prompts.items()}
    assert [len(batch) for batch in backend.batches] == [3, 2, 1]


def test_accepted_guesses_are_not_computed_again() -> None:
    backend = FakeBackend()
    model = draft_model(backend)
    tokens = [*PROMPT, *model.propose([wanted(1, PROMPT)], {1})[1]]
    tokens += expected(tokens, 1)
    backend.batches.clear()
    assert model.propose([wanted(1, tokens, 1)], {1}) == {1: expected(tokens, 1)}
    assert computed(backend) == 2, "the last guess was never fed, and one token is new"


def test_rejected_guesses_are_cut_off() -> None:
    backend = FakeBackend()
    model = draft_model(backend)
    model.propose([wanted(1, PROMPT)], {1})
    tokens = [*PROMPT, 91]
    backend.batches.clear()
    assert model.propose([wanted(1, tokens, 1)], {1}) == {1: expected(tokens, 1)}
    assert computed(backend) == 1


@given(
    truth=st.lists(st.integers(1, 3), min_size=1, max_size=40),
    steps=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=8),
)
def test_whatever_became_of_its_guesses_the_next_ones_are_right(
    truth: list[int], steps: list[tuple[int, int]]
) -> None:
    model = draft_model(FakeBackend(n_ctx_seq=256))
    tokens = list(truth)
    for longest, grown in steps:
        assert model.propose([wanted(1, tokens, longest)], {1}) == {1: expected(tokens, longest)}
        # Some tokens as guessed, one that was not.
        tokens = [*tokens, *expected(tokens, grown - 1), 90]


def test_a_long_prompt_is_read_over_several_steps() -> None:
    clock = FakeClock()
    backend = FakeBackend(n_ctx_seq=512, clock=clock, per_token_s=0.001, per_pass_s=0.001)
    model = draft_model(backend, clock)
    prompt = [1 + token % 90 for token in range(200)]
    steps = 1
    while not (drafts := model.propose([wanted(1, prompt)], {1})):
        steps += 1
        assert steps < 30
    assert drafts == {1: expected(prompt, 4)}
    assert 3 <= steps <= 10
    assert computed(backend) == len(prompt) + 3


def test_a_prompt_seen_before_is_not_read_again() -> None:
    clock = FakeClock()
    backend = FakeBackend(clock=clock, per_token_s=0.001, per_pass_s=0.001)
    model = draft_model(backend, clock)
    model.propose([wanted(1, PROMPT)], {1})
    backend.batches.clear()
    prompt = [*PROMPT, 50]
    assert model.propose([wanted(2, prompt, 1)], {1, 2}) == {2: expected(prompt, 1)}
    assert computed(backend) == 1


def test_sequences_that_ended_give_their_slots_back() -> None:
    model = draft_model(FakeBackend(n_slots=2))
    for key in range(20):
        prompt = [1 + key, *PROMPT]
        assert model.propose([wanted(key, prompt)], {key}) == {key: expected(prompt, 4)}


def test_no_slot_left_means_no_draft() -> None:
    model = draft_model(FakeBackend(n_slots=1))
    model.propose([wanted(1, PROMPT)], {1})
    assert model.propose([wanted(2, [7, *PROMPT])], {1, 2}) == {}


def test_a_sequence_beyond_its_context_gets_no_draft() -> None:
    model = draft_model(FakeBackend(n_ctx_seq=32))
    assert model.propose([wanted(1, [1] * 32)], {1}) == {}
    assert len(model.propose([wanted(2, PROMPT, 8)], {2})[2]) == 2


class EndingBackend(FakeBackend):
    """Says the end after three more tokens, then what must not be asked."""

    def logits(self, row: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
        logits = super().logits(row)
        if len(self.slots[0]) >= len(PROMPT) + 2:
            logits[:] = 0
            logits[END] = 1
        return logits


def test_nothing_is_guessed_after_the_end() -> None:
    draft = draft_model(EndingBackend()).propose([wanted(1, PROMPT, 16)], {1})[1]
    assert draft == [*expected(PROMPT, 2), END]


def test_threads_are_set_on_its_own_context() -> None:
    backend = FakeBackend()
    draft_model(backend).set_threads(3)
    assert backend.threads == 3


# ── with the engine ─────────────────────────────────────────────────────────────────────────────────────────


@given(
    prompts=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=40), min_size=1, max_size=7),
    draft_slots=st.integers(1, 3),
)
def test_answers_are_the_same_with_a_draft_model(prompts: list[list[int]], draft_slots: int) -> None:
    clock = FakeClock()
    backend = FakeBackend(clock=clock, n_slots=3)
    small = FakeBackend(clock=clock, n_slots=draft_slots, per_pass_s=0.0001, per_token_s=0.0001)
    engine = engine_over(backend, clock, proposer=draft_model(small, clock))
    heard = run(engine, *(request(key, prompt, max_tokens=20) for key, prompt in enumerate(prompts)))
    for key, prompt in enumerate(prompts):
        assert heard.text(key) == written(expected(prompt, min(20, 64 - len(prompt))))


def test_a_model_that_is_its_own_draft_is_always_right() -> None:
    clock = FakeClock()
    backend = FakeBackend(clock=clock, per_pass_s=0.1, per_token_s=0.001)
    small = FakeBackend(clock=clock, per_pass_s=0.0001, per_token_s=0.0001)
    engine = engine_over(backend, clock, proposer=draft_model(small, clock))
    engine.observe(passes=1, tokens=1, outputs=1, seconds=0.101)
    engine.observe(passes=1, tokens=32, outputs=32, seconds=0.132)
    asked = request(1, [5, 6, 7], max_tokens=40)
    asked.sequences[0].lookup = None
    heard = run(engine, asked)
    usage = heard.usage(1)
    assert usage.draft_tokens == usage.draft_accepted_tokens > 20
    assert heard.text(1) == written(expected([5, 6, 7], 40))
    assert len(backend.batches) < 20


class WrongProposer:
    """Guesses that are never right."""

    def __init__(self) -> None:
        self.asked = 0

    def guess_s(self, n_sequences: int) -> float:
        return 0.0001 * n_sequences

    def propose(self, wanted: list[Wanted], running: set[int]) -> dict[int, list[int]]:
        self.asked += 1
        return {one.key: [99] * one.longest for one in wanted}

    def set_threads(self, n_threads: int) -> None: ...


def test_a_draft_model_that_is_never_right_is_soon_asked_no_more() -> None:
    clock = FakeClock()
    backend = FakeBackend(clock=clock, n_ctx_seq=512, per_pass_s=0.1, per_token_s=0.001)
    proposer = WrongProposer()
    engine = engine_over(backend, clock, proposer=proposer)  # type: ignore[arg-type]
    prompt = [9, 8, 7]
    heard = run(engine, request(1, prompt, max_tokens=300, n_ctx_seq=512))
    assert heard.text(1) == written(expected(prompt, 300))
    assert proposer.asked < 100


def test_without_a_share_of_the_step_a_dear_draft_is_not_asked_for() -> None:
    class DearProposer(WrongProposer):
        def guess_s(self, n_sequences: int) -> float:
            return 10.0

    clock = FakeClock()
    proposer = DearProposer()
    run(engine_over(FakeBackend(clock=clock), clock, proposer=proposer), request(1, PROMPT))  # type: ignore[arg-type]
    assert proposer.asked == 0
