"""Which tokens a grammar lets through, and what becomes of one that costs too much."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.gbnf_check import check_gbnf
from appliance.engine.gbnf_matcher import GrammarMatcher, GrammarVocabulary
from appliance.engine.gbnf_parse import parse_gbnf
from appliance.engine.gbnf_probe import Machine
from appliance.errors import EngineFault, InvalidRequest
from tests.fakes.random_grammars import random_grammar

END, HIDDEN = 0, 1
PIECES = [
    b"</s>",
    b"",
    *(text.encode() for text in ("a", "b", "c", "ab", "aba", "bb", "é", "éa", "aé", "x", "y", "z", "xxxx")),
    b"\xc3",
    b"\xa9",
    b"a\xc3",
    b"\xa9b",
    b"\0",
    b"[THINK]",
]
THINK = len(PIECES) - 1


def vocabulary() -> GrammarVocabulary:
    return GrammarVocabulary(
        PIECES, end_tokens=[END], token_of=lambda written: THINK if "THINK" in written else int(written[2:-2])
    )


def matcher(gbnf: str, said: list[int] | None = None) -> GrammarMatcher:
    made = GrammarMatcher(vocabulary().grammar(gbnf, param="grammar"))
    for token in said or []:
        made.accept(token)
    return made


def say(made: GrammarMatcher, words: list[str]) -> None:
    for word in words:
        assert made.allowed()[token(word)]
        made.accept(token(word))


def token(text: str | bytes) -> int:
    return PIECES.index(text.encode() if isinstance(text, str) else text)


def shown(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[bytes]:
    return [PIECES[one] for one in np.flatnonzero(mask)]


def test_tokens_that_go_on_are_allowed_and_no_others() -> None:
    made = matcher('root ::= "a" ("b" | "é")')
    assert shown(made.allowed()) == [b"a", b"ab", "aé".encode(), b"a\xc3"]
    assert made.allows(token("ab")) and not made.allows(token("aba"))


def test_a_character_may_be_cut_between_tokens_but_not_broken() -> None:
    made = matcher('root ::= "é" "b"?', [token(b"\xc3")])
    assert shown(made.allowed()) == [b"\xa9", b"\xa9b"]


def test_an_end_token_is_allowed_where_the_answer_may_end() -> None:
    made = matcher('root ::= "a" "b"?')
    assert not made.allows(END) and not made.is_complete
    made.accept(token("a"))
    assert made.allows(END) and made.is_complete
    assert shown(made.allowed()) == [b"</s>", b"b"]
    made.accept(END)


def test_a_token_is_named_by_its_number_or_its_text() -> None:
    made = matcher('root ::= <THINK> !<THINK>+ <THINK> "a"')
    assert shown(made.allowed()) == [b"[THINK]"]
    made.accept(THINK)
    assert not made.allows(THINK)
    assert not made.allows(HIDDEN) and not made.allows(END)
    made.accept(token("xxxx"))
    assert len(shown(made.allowed())) == len(PIECES) - 2
    made.accept(THINK)
    assert shown(made.allowed()) == [b"a"]


def test_a_token_that_begins_by_its_letters_does_not_go_on_by_its_number() -> None:
    """llama.cpp lets it through and then aborts the process."""
    number = token("ab")
    made = matcher(f'root ::= "a" <[{number}]>')
    assert shown(made.allowed()) == [b"a"]
    made.accept(token("a"))
    assert shown(made.allowed()) == [b"ab"]


def test_a_token_outside_the_vocabulary_is_never_chosen() -> None:
    assert shown(matcher(f'root ::= <[{len(PIECES)}]> | !<[{len(PIECES)}]> "a" | "b"').allowed())


def test_a_token_against_the_grammar_is_not_taken() -> None:
    with pytest.raises(EngineFault, match="against the grammar"):
        matcher('root ::= "a"').accept(token("b"))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_the_mask_is_what_reading_each_token_says(seed: int) -> None:
    rng = random.Random(seed)
    gbnf = random_grammar(rng)
    try:
        check_gbnf(gbnf)
        made = matcher(gbnf)
    except InvalidRequest:
        return
    parsed = parse_gbnf(gbnf, param="grammar", max_elements=10**6)
    machine = Machine(parsed, budget=10**9)
    stacks = machine.begin(parsed.root)
    whole = [one for one, piece in enumerate(PIECES) if one > HIDDEN and _characters(piece)]
    for _ in range(6):
        try:
            mask = made.allowed()
        except InvalidRequest:
            return  # more ways at once than a state may hold
        after = {"": stacks}
        expected = {one for one in whole if _after(machine, after, _characters(PIECES[one]))}
        assert {one for one in whole if mask[one]} == expected, gbnf
        assert bool(mask[END]) == (() in stacks)
        assert all(made.allows(one) == mask[one] for one in range(len(PIECES)))
        if not expected:
            return
        chosen = rng.choice(sorted(expected))
        made.accept(chosen)
        stacks = after[_characters(PIECES[chosen])]


def _characters(piece: bytes) -> str:
    text = piece.decode("utf-8", "ignore")
    return text if text.encode() == piece and "\0" not in text else ""


def _after(machine: Machine, after: dict[str, set[tuple[int, ...]]], text: str) -> set[tuple[int, ...]]:
    """`after`: what is known, from "" on. Pieces begin alike."""
    if text not in after:
        before = _after(machine, after, text[:-1])
        after[text] = machine.read(before, ord(text[-1])) if before else set()
    return after[text]


def test_sequences_under_one_grammar_share_what_is_found_out() -> None:
    words = vocabulary()
    first, second = (words.grammar('root ::= "a"+', param="grammar") for _ in range(2))
    assert first is second
    one, other = GrammarMatcher(first), GrammarMatcher(second)
    one.accept(token("a"))
    assert not other.is_complete and one.is_complete


def test_a_grammar_goes_on_after_its_automaton_was_renewed() -> None:
    shared = vocabulary().grammar('root ::= "x" root "y" | "é"', param="grammar")
    before = shared.built
    one, other = GrammarMatcher(shared), GrammarMatcher(shared)
    other.accept(token("x"))
    for _ in range(1_000):
        one.accept(token("xxxx"))
    assert shared.built is not before
    one.accept(token(b"\xc3"))
    one.accept(token(b"\xa9"))
    for _ in range(4_000):
        assert one.allows(token("y")) and not one.is_complete
        one.accept(token("y"))
    assert one.is_complete
    other.accept(token("é"))
    assert shown(other.allowed()) == [b"y"]


def test_a_bomb_fails_its_own_sequence_within_few_tokens() -> None:
    made = matcher('root ::= b\nb ::= "xxxx" b "y" | "xxxx" b "z" | "a"')
    with pytest.raises(InvalidRequest, match="too costly"):
        say(made, ["xxxx"] * 40)


def test_what_is_too_costly_from_the_start_is_refused_before_it_is_used() -> None:
    gbnf = (
        "root ::= r0\n"
        + "\n".join(f'r{n} ::= r{n + 1} "a" | r{n + 1} "b"' for n in range(18))
        + '\nr18 ::= "x"'
    )
    with pytest.raises(InvalidRequest, match="too costly") as refused:
        vocabulary().grammar(gbnf, param="tools")
    assert refused.value.param == "tools"
