"""Guesses change the speed of the starter model, and nothing of what it says.

One compute thread and a prompt below 64 tokens: there, llama.cpp adds in the same order however many tokens a
pass has (docs/engine.md, "Determinism").
"""

from __future__ import annotations

import pytest

from appliance.wire.messages import SamplingParams
from tests.daemon import STARTER
from tests.integration.llama_desk import Answer, Desk

pytestmark = pytest.mark.e2e

PROMPT = "one two three four five six seven eight nine ten. " * 4
GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


def answered(*, speculation: bool, top_logprobs: int | None) -> tuple[Answer, int, int, int]:
    """The answer; tokens guessed, tokens accepted, steps."""
    with Desk(STARTER, n_ctx_seq=512, n_seq_max=1, speculation=speculation) as desk:
        key = desk.generate(PROMPT, sampling=GREEDY, max_tokens=200, top_logprobs=top_logprobs)
        desk.finish()
        usage = desk.usage(key)
        steps = desk.engine.stats().steps
        assert usage.prompt_tokens < 64
        return desk.answer(key), usage.draft_tokens, usage.draft_accepted_tokens, steps


def test_greedy_text_is_the_same_with_and_without_guesses() -> None:
    plain, *_, plain_steps = answered(speculation=False, top_logprobs=0)
    guessed, drafted, accepted, steps = answered(speculation=True, top_logprobs=0)
    assert len(plain.tokens) == 200
    assert guessed.tokens == plain.tokens
    assert guessed.text == plain.text
    assert accepted <= drafted
    assert accepted > 100, "text that repeats is guessed"
    assert steps < plain_steps - 100
