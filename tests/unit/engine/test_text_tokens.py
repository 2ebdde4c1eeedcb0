from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.text_tokens import check_fits, first_tokens, fitting_tokens
from appliance.errors import ContextLengthExceeded

LIMIT = 64


class Words:
    """Dashes go by eighty, other characters by one; remembers how much it was asked to read."""

    longest_piece_bytes = 80

    def __init__(self) -> None:
        self.read: list[int] = []

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        self.read.append(len(text))
        tokens = [1] if add_special else []
        place = 0
        while place < len(text):
            size = len(text[place : place + 80]) if text[place : place + 80].strip("-") == "" else 1
            tokens.append(size)
            place += size
        return tokens


def fitting(words: Words, text: str) -> list[int]:
    return fitting_tokens(words, text, limit=LIMIT, add_special=True, parse_special=False)


def test_a_short_text_is_read_once() -> None:
    words = Words()
    assert fitting(words, "abc") == [1, 1, 1, 1]
    assert words.read == [3]


def test_ordinary_text_that_is_too_long_is_refused_after_its_beginning() -> None:
    words = Words()
    with pytest.raises(ContextLengthExceeded) as refused:
        fitting(words, "a" * 1_000_000)
    assert (refused.value.fields["prompt_tokens"], refused.value.fields["limit_tokens"]) == (1_000_000, LIMIT)
    assert "about 1000000 tokens" in refused.value.message
    assert words.read == [16 * LIMIT]


def test_sixteen_megabytes_of_one_word_are_refused_unread() -> None:
    words = Words()
    with pytest.raises(ContextLengthExceeded):
        fitting(words, "-" * 16_000_000)
    assert sum(words.read) <= 3 * 80 * LIMIT


def test_a_long_text_of_few_tokens_fits() -> None:
    assert fitting(Words(), "-" * 80 * (LIMIT - 1)) == [1] + [80] * (LIMIT - 1)


@given(text=st.text("-a", max_size=400).map(lambda part: part * 30), limit=st.integers(1, 200))
def test_what_is_refused_does_not_fit_and_what_passes_is_whole(text: str, limit: int) -> None:
    whole = Words().tokenize(text, add_special=False, parse_special=False)
    try:
        tokens = fitting_tokens(Words(), text, limit=limit, add_special=False, parse_special=False)
    except ContextLengthExceeded:
        assert len(whole) > limit
    else:
        assert tokens == whole


@given(text=st.text("-a", max_size=400).map(lambda part: part * 30), limit=st.integers(1, 200))
def test_first_tokens_are_those_of_the_whole(text: str, limit: int) -> None:
    whole = Words().tokenize(text, add_special=False, parse_special=False)
    first = first_tokens(Words(), text, limit=limit, add_special=False, parse_special=False)
    assert first[:limit] == whole[:limit]


def test_a_check_says_the_same_as_the_reading() -> None:
    check_fits(Words(), "a" * LIMIT, limit=LIMIT)
    with pytest.raises(ContextLengthExceeded):
        check_fits(Words(), "a" * 17 * LIMIT, limit=LIMIT)
