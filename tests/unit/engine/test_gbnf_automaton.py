"""The automaton reads what the stack machine reads, and never spends more than its allowance."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.gbnf_automaton import DEAD, Allowance, Automaton
from appliance.engine.gbnf_bytes import byte_grammar
from appliance.engine.gbnf_check import check_gbnf
from appliance.engine.gbnf_parse import parse_gbnf
from appliance.errors import InvalidRequest
from tests.fakes.grammar_reader import admits
from tests.fakes.random_grammars import random_grammar

AMPLE = 10**7

BOMBS = {
    "doubling": 'root ::= "x" root "y" | "x" root "z" | "w"',
    "doubling every sixteen": f'root ::= "{"x" * 16}" root "y" | "{"x" * 16}" root "z" | "w"',
    "doubling after a long beginning": f'root ::= "{"q" * 70}" b\nb ::= "x" b "y" | "x" b "z" | "w"',
}
STARS = {
    "letters": "root ::= " + " ".join(["[a-z]*"] * 100),
    "one letter": "root ::= " + " ".join(['"x"*'] * 300) + ' "y"',
    "nested": "root ::= " + " ".join(["([a-z]+ [a-z]*)*"] * 100),
}


def automaton(gbnf: str) -> Automaton:
    parsed = parse_gbnf(gbnf, param="grammar", max_elements=10**6)
    return Automaton(byte_grammar(parsed, lambda _: 0))


def allowance(operations: int = AMPLE) -> Allowance:
    return Allowance(operations, param="grammar")


def reads(gbnf: str, text: bytes) -> bool:
    made, spent = automaton(gbnf), allowance()
    return made.is_complete(made.read(made.begin(spent), text, spent))


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────

code_points = st.integers(1, 0xD7FF) | st.integers(0xE000, 0x10FFFF)


@given(code_points, code_points, code_points)
def test_a_range_reads_the_utf8_of_its_characters_and_no_other(low: int, high: int, asked: int) -> None:
    low, high = min(low, high), max(low, high)
    gbnf = f"root ::= [\\U{low:08X}-\\U{high:08X}]"
    for code in (low, high, asked):
        assert reads(gbnf, chr(code).encode()) == (low <= code <= high)


@pytest.mark.parametrize(
    "text",
    [
        b"\x80",
        b"\xc3\x22",
        b"\xc0\x80",
        b"\xe0\x80",
        b"\xed\xa0",
        b"\xe2\x82\x20",
        b"\xf0\x82",
        b"\xf4\x90",
        b"\xf5",
    ],
)
@pytest.mark.parametrize("gbnf", ["root ::= .*", "root ::= [^a]*"])
def test_what_no_character_continues_is_never_read(gbnf: str, text: bytes) -> None:
    made, spent = automaton(gbnf), allowance()
    assert made.read(made.begin(spent), text, spent) == DEAD


def test_no_class_holds_nul() -> None:
    assert not reads("root ::= [^a]", b"\0")
    assert not reads("root ::= .", b"\0")


def test_a_class_may_overlap_with_itself() -> None:
    assert reads("root ::= [a-me-zöä-ü]", "ö".encode())


# ── the same language ───────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32))
def test_it_reads_what_the_stack_machine_reads(seed: int) -> None:
    rng = random.Random(seed)
    gbnf = random_grammar(rng)
    with suppress(InvalidRequest):
        check_gbnf(gbnf)
        made, spent = automaton(gbnf), allowance()
        for _ in range(20):
            text = "".join(rng.choice("abcé") for _ in range(rng.randrange(8)))
            # Refused here is what the checks missed: more ways at once than a state may hold.
            said = made.is_complete(made.read(made.begin(spent), text.encode(), spent))
            assert said == admits(gbnf, text), (gbnf, text)


def test_a_state_moves_to_another_automaton() -> None:
    gbnf = 'root ::= "(" root ")" | [é-ü]'
    old, new, spent = automaton(gbnf), automaton(gbnf), allowance()
    half = old.read(old.begin(spent), b"(((\xc3", spent)
    moved = new.adopt(old, half, spent)
    assert new.is_complete(new.read(moved, b"\xa9)))", spent))
    assert new.read(moved, b"\xa9))))", spent) == DEAD


def test_it_says_when_it_has_become_too_large_to_go_on_with() -> None:
    made, spent = automaton('root ::= "(" root ")" | "x"'), allowance()
    state, depth = made.begin(spent), 0
    while not made.is_full:
        state = made.read(state, b"(", spent)
        depth += 1
    assert 1_000 < depth < 10_000


# ── bounded ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STARS)
def test_what_can_be_read_in_endless_ways_costs_little(name: str) -> None:
    made, spent = automaton(STARS[name]), allowance()
    state = made.begin(spent)
    made.read(state, b"x" * 1_000, spent)
    assert AMPLE - spent.left < 200_000


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_uses_up_its_allowance_and_names_the_field(name: str) -> None:
    made, spent = automaton(BOMBS[name]), allowance(200_000)
    state = made.begin(spent)
    with pytest.raises(InvalidRequest, match="too costly") as refused:
        made.read(state, b"q" * 70 * name.endswith("beginning") + b"x" * 2_000, spent)
    assert refused.value.param == "grammar"


def test_an_allowance_ends_even_a_grammar_that_begins_with_itself() -> None:
    with pytest.raises(InvalidRequest, match="too costly"):
        automaton('root ::= root "a" | "b"').begin(allowance(10_000))
