"""The engine over llama.cpp: an answer does not depend on what else the engine does.

One compute thread, and prompts below 64 tokens: beyond these, llama.cpp's attention adds in another order,
and equal answers are likely, not sure (docs/engine.md, "Determinism").
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.engine.speculation import Acceptance
from appliance.errors import ContextLengthExceeded, InvalidRequest
from appliance.wire.messages import (
    Detokenize,
    FinishReason,
    Generate,
    SamplingParams,
    TextPrompt,
    Tokenize,
    TokensPrompt,
)
from tests.fakes.fixed_cost import FixedCost, drafts_pay
from tests.fakes.tiny_gguf import N_VOCAB
from tests.integration.llama_desk import GREEDY, Desk

pytestmark = pytest.mark.integration

SYSTEM = "You are a helpful assistant of few words. "
PROMPTS = [f"{SYSTEM}{end}" for end in ("Hello?", "And now", "The world", "Why not", "Hi")]
N_SYSTEM = 36
"""Tokens that all prompts share, at least."""
SEEDED = SamplingParams(temperature=1.0, seed=42, ignore_eos=True)


def alone(path: Path, prompt: str, sampling: SamplingParams = GREEDY, max_tokens: int = 24) -> list[int]:
    with Desk(path, prefix_reuse=False) as desk:
        return desk.ask(prompt, sampling=sampling, max_tokens=max_tokens).tokens


# ── greedy ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_greedy_answers_are_the_same_after_prefix_reuse(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        keys = []
        for prompt in PROMPTS:
            keys.append(desk.generate(prompt))
            desk.finish()
            assert desk.answer(keys[-1]).tokens == alone(tiny_model, prompt)
        assert desk.usage(keys[-1]).cached_tokens >= N_SYSTEM


def test_greedy_answers_are_the_same_beside_neighbours(tiny_model: Path) -> None:
    with Desk(tiny_model, prefix_reuse=False) as desk:
        keys = {prompt: desk.generate(prompt) for prompt in PROMPTS}
        desk.finish()
        for prompt, key in keys.items():
            assert desk.answer(key).tokens == alone(tiny_model, prompt)


def test_greedy_answers_are_the_same_when_the_prefix_is_copied_from_a_running_sequence(
    tiny_model: Path,
) -> None:
    with Desk(tiny_model) as desk:
        first = desk.generate(PROMPTS[0], max_tokens=40)
        while not desk.answer_began(first):
            desk.step()
        second = desk.generate(PROMPTS[1])
        desk.finish()
        assert desk.usage(second).cached_tokens >= N_SYSTEM
        assert desk.answer(first).tokens == alone(tiny_model, PROMPTS[0], max_tokens=40)
        assert desk.answer(second).tokens == alone(tiny_model, PROMPTS[1])


def test_greedy_answers_are_the_same_when_their_slots_are_swapped(tiny_model: Path) -> None:
    with Desk(tiny_model, n_seq_max=6, prefix_reuse=False) as desk:
        keys = [desk.generate(f"{number} {SYSTEM}", max_tokens=60) for number in range(6)]
        for _ in range(8):
            desk.step()
        for gone in (keys[1], keys[2], keys[4]):
            desk.cancel(gone)
        slots = [sequence.slot for sequence in desk.generator._admission.running]
        desk.finish()
        assert slots == [0, 3, 5]
        for number in (0, 3, 5):
            expected = alone(tiny_model, f"{number} {SYSTEM}", max_tokens=60)
            assert desk.answer(keys[number]).tokens == expected


def test_a_swap_exchanges_what_two_slots_hold(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        one = desk.generate(PROMPTS[0], max_tokens=40)
        two = desk.generate("Something else entirely, and long", max_tokens=40)
        while not (desk.answer_began(one) and desk.answer_began(two)):
            desk.step()
        running = desk.generator._admission.running
        left, right = (sequence.slot for sequence in running)
        desk.generator.kv_cache.swap(left, right)
        running[0].slot, running[1].slot = right, left
        desk.finish()
        assert desk.answer(one).tokens == alone(tiny_model, PROMPTS[0], max_tokens=40)
        assert desk.answer(two).tokens == alone(
            tiny_model, "Something else entirely, and long", max_tokens=40
        )


@pytest.mark.parametrize("neighbours", [0, 3])
def test_greedy_answers_are_the_same_with_speculation(tiny_model: Path, neighbours: int) -> None:
    text = "the world and the world is the world and the world is "
    with Desk(tiny_model, speculation=True) as desk:
        desk.generator.decode_cost = drafts_pay()
        key = desk.generate(text, max_tokens=200)
        for number in range(neighbours):
            desk.generate(f"{number} {text}", max_tokens=100)
        for sequence in desk.generator._admission.waiting:
            assert sequence.lookup is not None
            sequence.lookup._classes = [Acceptance(40, 1) for _ in range(4)]
        desk.finish()
        assert desk.usage(key).draft_tokens > desk.usage(key).draft_accepted_tokens
        assert desk.answer(key).tokens == alone(tiny_model, text, max_tokens=200)


# ── seeds and choices ───────────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_gives_the_same_text_whatever_else_is_in_the_batch(tiny_model: Path) -> None:
    expected = alone(tiny_model, PROMPTS[0], SEEDED)
    with Desk(tiny_model) as desk:
        for neighbours in range(4):
            for number in range(neighbours):
                desk.generate(PROMPTS[1 + number], sampling=SamplingParams(temperature=1.3, ignore_eos=True))
            assert desk.ask(PROMPTS[0], sampling=SEEDED).tokens == expected


def test_another_seed_gives_another_text(tiny_model: Path) -> None:
    other = SamplingParams(temperature=1.0, seed=43, ignore_eos=True)
    assert alone(tiny_model, PROMPTS[0], SEEDED) != alone(tiny_model, PROMPTS[0], other)


def test_without_a_seed_each_answer_is_fresh(tiny_model: Path) -> None:
    fresh = SamplingParams(temperature=1.5, ignore_eos=True)
    with Desk(tiny_model) as desk:
        assert desk.ask(PROMPTS[0], sampling=fresh).tokens != desk.ask(PROMPTS[0], sampling=fresh).tokens


def test_choice_k_is_the_answer_to_seed_plus_k(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        key = desk.generate(PROMPTS[0], sampling=SEEDED, n=3)
        desk.finish()
        for choice in range(3):
            seeded = SamplingParams(temperature=1.0, seed=42 + choice, ignore_eos=True)
            assert desk.answer(key, choice).tokens == alone(tiny_model, PROMPTS[0], seeded)
        assert desk.usage(key).completion_tokens == 72


def test_choices_compute_their_prompt_once(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        key = desk.generate(PROMPTS[0], n=3, max_tokens=1)
        desk.finish()
        stats = desk.engine.stats()
        assert stats.prompt_tokens == desk.usage(key).prompt_tokens + 2


def test_more_choices_than_slots_are_refused(tiny_model: Path) -> None:
    with Desk(tiny_model, n_seq_max=2) as desk, pytest.raises(InvalidRequest) as refused:
        desk.generate("Hello", n=3)
    assert refused.value.param == "n"


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_end_token_ends_the_answer_and_is_not_part_of_it(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        answers = [
            desk.ask(prompt, sampling=SamplingParams(temperature=1.0, seed=7), max_tokens=400)
            for prompt in PROMPTS
        ]
    stopped = [answer for answer in answers if answer.finish_reason is FinishReason.STOP]
    assert stopped
    for answer in stopped:
        assert len(answer.tokens) < 400
        assert not {2, 4} & set(answer.tokens)


def test_ignore_eos_goes_on_to_the_limit(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        sampling = SamplingParams(temperature=1.0, seed=7, ignore_eos=True)
        for prompt in PROMPTS:
            answer = desk.ask(prompt, sampling=sampling, max_tokens=300)
            assert len(answer.tokens) == 300
            assert answer.finish_reason is FinishReason.LENGTH


def test_an_answer_without_a_limit_ends_with_the_context(tiny_model: Path) -> None:
    with Desk(tiny_model, n_ctx_seq=256) as desk:
        key = desk.generate("Hello", max_tokens=None)
        desk.finish()
        usage = desk.usage(key)
        assert usage.prompt_tokens + usage.completion_tokens == desk.engine.facts.n_ctx_seq
        assert desk.answer(key).finish_reason is FinishReason.LENGTH


def test_a_stop_string_over_tokens_ends_the_answer_before_it(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        whole = desk.ask(PROMPTS[0], max_tokens=60).text
        stop = next(whole[at : at + 3] for at in range(8, len(whole)) if "\ufffd" not in whole[at : at + 3])
        answer = desk.ask(PROMPTS[0], max_tokens=60, stop=[stop])
    assert answer.text == whole[: whole.index(stop)]
    assert (answer.finish_reason, answer.stop) == (FinishReason.STOP, stop)


def test_a_cancelled_prefill_is_continued_by_the_next_request(tiny_model: Path) -> None:
    prompt = [5 + number % 250 for number in range(400)]
    with Desk(tiny_model) as desk:
        # A slow board: 250 ms are few tokens.
        desk.generator.cost = FixedCost(per_pass_s=0.001, per_token_s=0.005)
        key = desk.generate(prompt)
        desk.step()
        desk.cancel(key)
        assert not desk.engine.has_work()
        assert desk.answer(key).finish_reason is FinishReason.CANCELLED
        key = desk.generate(prompt, max_tokens=4)
        desk.finish()
        assert desk.usage(key).cached_tokens >= 8


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_over_long_prompt_is_refused_with_both_counts(tiny_model: Path) -> None:
    with Desk(tiny_model, n_ctx_seq=256) as desk, pytest.raises(ContextLengthExceeded) as refused:
        desk.generate([9] * 300)
    assert refused.value.fields["prompt_tokens"] == 300
    assert refused.value.fields["limit_tokens"] == 256


def test_a_prompt_of_a_hundred_times_the_context_is_refused_as_well(tiny_model: Path) -> None:
    with Desk(tiny_model, n_ctx_seq=256) as desk, pytest.raises(ContextLengthExceeded) as refused:
        desk.generate("the " * 100_000)
    assert refused.value.fields["prompt_tokens"] >= 100_000


def bounded(desk: Desk, prompt: list[int], most: int | None, *, is_default: bool) -> int:
    """The key of an answer that goes on for as long as it may, to a caller who may use 64 tokens."""
    return desk.begin(
        Generate(
            id=desk.next_id(),
            prompt=TokensPrompt(tokens=prompt),
            sampling=SamplingParams(temperature=0.0, ignore_eos=True),
            max_tokens=most,
            max_context=64,
            is_max_tokens_default=is_default,
        )
    )


@pytest.mark.parametrize(("length", "most", "is_default"), [(64, None, True), (64, 1, False), (60, 5, False)])
def test_what_the_caller_may_use_is_not_passed(
    tiny_model: Path, length: int, most: int | None, is_default: bool
) -> None:
    with (
        Desk(tiny_model, n_ctx_seq=256) as desk,
        pytest.raises(ContextLengthExceeded, match="this key may use 64 tokens") as refused,
    ):
        bounded(desk, [9] * length, most, is_default=is_default)
    assert refused.value.fields["prompt_tokens"] == length
    assert refused.value.fields["requested_tokens"] == (most or 0)


@pytest.mark.parametrize(
    ("most", "is_default", "completed"), [(4, False, 4), (50, True, 4), (None, True, 4), (2, True, 2)]
)
def test_a_length_that_nobody_asked_for_gives_way(
    tiny_model: Path, most: int | None, is_default: bool, completed: int
) -> None:
    with Desk(tiny_model, n_ctx_seq=256) as desk:
        key = bounded(desk, [9] * 60, most, is_default=is_default)
        desk.finish()
        assert desk.usage(key).completion_tokens == completed


@pytest.mark.parametrize("token", [-1, N_VOCAB, 2**31 - 1])
def test_a_token_outside_the_vocabulary_is_refused(tiny_model: Path, token: int) -> None:
    with Desk(tiny_model) as desk, pytest.raises(InvalidRequest) as refused:
        desk.generate([5, token])
    assert refused.value.param == "prompt"


def test_an_empty_prompt_is_refused(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk, pytest.raises(InvalidRequest):
        desk.generate([])


# ── log-probabilities, tokens and text ──────────────────────────────────────────────────────────────────────


def test_the_logprobs_of_the_whole_vocabulary_sum_to_one(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        answer = desk.ask(PROMPTS[0], sampling=SEEDED, max_tokens=5, top_logprobs=N_VOCAB)
    assert len(answer.logprobs) == 5
    for one in answer.logprobs:
        assert sum(np.exp(entry.logprob) for entry in one.top if entry.logprob > -9999) == pytest.approx(1)
        assert {entry.token: entry.logprob for entry in one.top}[one.token] == one.logprob


def test_greedy_takes_the_likeliest_token(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        answer = desk.ask(PROMPTS[0], top_logprobs=2)
    for one in answer.logprobs:
        assert one.top[0].token == one.token
        assert one.top[0].logprob >= one.top[1].logprob


@pytest.mark.parametrize("text", ["Hello world", "äöü € 😀", "a\nb\t c", "<|im_start|>user", " two  spaces "])
def test_text_comes_back_from_its_tokens(tiny_model: Path, text: str) -> None:
    with Desk(tiny_model) as desk:
        tokens = desk.call(Tokenize(id=1, text=text)).tokens
        assert desk.call(Detokenize(id=2, tokens=tokens)).text == text


def test_pieces_are_the_bytes_of_the_text(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        result = desk.call(Tokenize(id=1, text="naïve €", add_special=False))
    assert b"".join(result.pieces) == "naïve €".encode()


def test_special_tokens_are_added_and_parsed_on_request_only(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        plain = desk.call(Tokenize(id=1, text="<|im_end|>", parse_special=False)).tokens
        parsed = desk.call(Tokenize(id=2, text="<|im_end|>", parse_special=True)).tokens
        with_start = desk.call(Tokenize(id=3, text="<|im_end|>", add_special=True)).tokens
    assert len(plain) > 1
    assert parsed == [4]
    assert with_start == [1, 4]


def test_detokenizing_a_token_outside_the_vocabulary_is_refused(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk, pytest.raises(InvalidRequest):
        desk.call(Detokenize(id=1, tokens=[N_VOCAB]))


def test_text_and_its_tokens_are_one_prompt(tiny_model: Path) -> None:
    with Desk(tiny_model) as desk:
        tokens = desk.call(Tokenize(id=1, text=PROMPTS[0], add_special=True)).tokens
        from_text = desk.ask(PROMPTS[0])
        desk.begin(
            Generate(
                id=900, prompt=TokensPrompt(tokens=tokens), sampling=GREEDY, max_tokens=24, top_logprobs=0
            )
        )
        desk.begin(
            Generate(
                id=901, prompt=TextPrompt(text=PROMPTS[0]), sampling=GREEDY, max_tokens=24, top_logprobs=0
            )
        )
        desk.finish()
        assert desk.answer(900).tokens == desk.answer(901).tokens == from_text.tokens
