"""Drafts by look-up: what they copy, when they stop, and what a difference does to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.cost import StepCost
from appliance.engine.lookup import PromptLookup
from appliance.engine.speculation import MAX_DRAFT

CHEAP = StepCost(per_pass_s=0.1, per_token_s=0.001)
"""A pass is dear and a token is not: drafts pay."""
DEAR = StepCost(per_pass_s=0.001, per_token_s=0.1)
SOURCE = list(range(100, 160))


def steps_to_write(prompt: list[int], answer: list[int]) -> int:
    """Steps in which a model that says `answer` whatever is guessed writes it."""
    lookup, tokens, steps = PromptLookup(), [*prompt, answer[0]], 1
    while len(tokens) < len(prompt) + len(answer):
        rest = answer[len(tokens) - len(prompt) :]
        draft = lookup.propose(list(tokens), 1, CHEAP, len(rest) - 1)
        accepted = 0
        while accepted < len(draft) and draft[accepted] == rest[accepted]:
            accepted += 1
        if draft:
            lookup.judge(len(draft), accepted)
        tokens += rest[: accepted + 1]
        steps += 1
    return steps


def test_what_followed_the_newest_occurrence_is_guessed() -> None:
    tokens = [1, 2, 3, 50, 51, 9, 1, 2, 3, 60, 61, 62, 63, 9, 1, 2, 3]
    guess = PromptLookup().propose(tokens, 1, CHEAP, 4)
    assert guess and guess == [60, 61, 62, 63][: len(guess)]


def test_text_that_never_repeats_has_no_draft() -> None:
    assert PromptLookup().propose(list(range(100)), 1, CHEAP, 8) == []


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 1, 1]])
def test_a_short_text_has_no_draft(tokens: list[int]) -> None:
    assert PromptLookup().propose(tokens, 1, CHEAP, 8) == []


def test_nothing_is_guessed_where_tokens_cost_more_than_passes() -> None:
    assert PromptLookup().propose([1, 2, 3, 4] * 20, 1, DEAR, 8) == []


def test_wrong_guesses_switch_a_sequence_off() -> None:
    lookup = PromptLookup()
    tokens = [1, 2, 3, 9] * 3
    wrong = 0
    while draft := lookup.propose(tokens, 1, CHEAP, 8):
        lookup.judge(len(draft), 0)
        wrong += 1
        assert wrong < 100
    assert wrong >= 1


def test_a_guess_of_one_kind_does_not_condemn_another() -> None:
    lookup = PromptLookup()
    short = [1, 2, 3, 50, 7, 8, 1, 2, 3]
    while draft := lookup.propose(short, 1, CHEAP, 8):
        lookup.judge(len(draft), 0)
    long = [*short, *range(60, 90), 33, *range(60, 90)]
    assert lookup.propose(long, 1, CHEAP, 4)


@given(
    tokens=st.lists(st.integers(0, 3), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    longest=st.integers(-1, 40),
)
def test_a_draft_is_a_piece_of_the_text(tokens: list[int], cuts: list[int], longest: int) -> None:
    lookup = PromptLookup()
    for size in sorted(cuts):
        lookup.propose(tokens[:size], 1, CHEAP, longest)
    draft = lookup.propose(tokens, 1, CHEAP, longest)
    assert len(draft) <= max(0, min(longest, MAX_DRAFT))
    assert any(tokens[start : start + len(draft)] == draft for start in range(len(tokens) + 1))


def test_a_copy_takes_few_steps() -> None:
    assert steps_to_write(SOURCE, SOURCE) <= 9


@pytest.mark.parametrize(
    "answer",
    [
        [*SOURCE[:30], 9, *SOURCE[31:]],
        [*SOURCE[:30], *SOURCE[33:]],
        [*SOURCE[:30], 9, *SOURCE[30:]],
    ],
    ids=["a word changed", "three left out", "one put in"],
)
def test_a_difference_does_not_end_the_copying(answer: list[int]) -> None:
    alike = steps_to_write(SOURCE, SOURCE[: len(answer)])
    assert steps_to_write(SOURCE, answer) <= alike + 5


def test_counted_rows_are_copied_between_their_numbers() -> None:
    row = list(range(200, 220))
    prompt = [token for number in range(4) for token in (1, 2, number, *row)]
    answer = [token for number in range(4, 12) for token in (1, 2, number, *row)]
    assert steps_to_write(prompt, answer) <= len(answer) // 4


@given(
    answer=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    prompt=st.lists(st.integers(0, 6), max_size=60),
)
def test_no_text_takes_more_steps_than_tokens(answer: list[int], prompt: list[int]) -> None:
    assert steps_to_write(prompt, answer) <= len(answer)
