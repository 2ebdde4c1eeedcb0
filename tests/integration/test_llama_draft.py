"""A draft model over llama.cpp: faster or not, the answer is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.engine.draft import DraftModel
from appliance.errors import ModelInvalid
from appliance.wire.messages import SamplingParams
from tests.fakes.fixed_cost import FixedCost, drafts_pay
from tests.fakes.tiny_gguf import Shape, write_encoder, write_generator
from tests.integration.llama_desk import GREEDY, Desk

pytestmark = pytest.mark.integration

PROMPTS = ["Hello, the world", "Once upon a time", "The cat and the hat"]


def eager(path: Path, draft: Path) -> Desk:
    """Where guesses always pay, and look-up is not asked."""
    desk = Desk(path, speculation=True, draft=draft)
    desk.generator.decode_cost = drafts_pay()
    proposer = desk.generator._drafter._proposer
    assert isinstance(proposer, DraftModel)
    proposer.cost = FixedCost(per_pass_s=1e-5, per_token_s=1e-5)
    return desk


def without_lookup(desk: Desk) -> None:
    for sequence in desk.generator._admission.waiting:
        sequence.lookup = None


@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams(temperature=1.0, seed=3, ignore_eos=True)])
def test_answers_are_the_same_with_any_draft_model(
    tiny_model: Path, tmp_path: Path, sampling: SamplingParams
) -> None:
    other = write_generator(tmp_path / "other.gguf", seed=2, shape=Shape(n_layer=1))
    with Desk(tiny_model) as plain, eager(tiny_model, other) as desk:
        keys = [desk.generate(prompt, sampling=sampling, max_tokens=60) for prompt in PROMPTS]
        without_lookup(desk)
        desk.finish()
        for prompt, key in zip(PROMPTS, keys, strict=True):
            assert desk.usage(key).draft_tokens > 0
            assert desk.answer(key).tokens == plain.ask(prompt, sampling=sampling, max_tokens=60).tokens


def test_a_model_that_is_its_own_draft_is_always_right(tiny_model: Path) -> None:
    with Desk(tiny_model) as plain, eager(tiny_model, tiny_model) as desk:
        key = desk.generate(PROMPTS[0], max_tokens=60)
        without_lookup(desk)
        desk.finish()
        usage = desk.usage(key)
        assert usage.draft_tokens == usage.draft_accepted_tokens > 30
        assert desk.answer(key).tokens == plain.ask(PROMPTS[0], max_tokens=60).tokens
        assert desk.engine.stats().steps < 30


def test_drafts_follow_cancels_swaps_and_reuse(tiny_model: Path) -> None:
    with Desk(tiny_model) as plain, eager(tiny_model, tiny_model) as desk:
        keys = {prompt: desk.generate(prompt, max_tokens=80) for prompt in PROMPTS}
        without_lookup(desk)
        for _ in range(3):
            desk.step()
        desk.cancel(keys[PROMPTS[1]])
        late = desk.generate(f"{PROMPTS[0]} and more of it", max_tokens=40)
        without_lookup(desk)
        desk.finish()
        for prompt in (PROMPTS[0], PROMPTS[2]):
            assert desk.answer(keys[prompt]).tokens == plain.ask(prompt, max_tokens=80).tokens
        expected = plain.ask(f"{PROMPTS[0]} and more of it", max_tokens=40).tokens
        assert desk.answer(late).tokens == expected


def test_without_speculation_no_draft_model_is_loaded(tiny_model: Path) -> None:
    with Desk(tiny_model, speculation=False, draft=tiny_model) as desk:
        assert desk.generator._drafter._proposer is None


def test_a_draft_model_of_another_vocabulary_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    import gguf

    other = write_encoder(tmp_path / "bert.gguf", pooling=gguf.PoolingType.MEAN)
    with pytest.raises(ModelInvalid, match="vocabulary"):
        Desk(tiny_model, speculation=True, draft=other)


def test_a_draft_model_that_does_not_load_is_named(tiny_model: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"no model")
    with pytest.raises(ModelInvalid, match="draft"):
        Desk(tiny_model, speculation=True, draft=garbage)
