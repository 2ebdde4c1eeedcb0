"""What the checker decides. That llama.cpp agrees is `tests/integration/test_grammars.py`."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.gbnf_check import check_gbnf
from appliance.errors import InvalidRequest
from tests.fakes.grammar_reader import admits


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ('root ::= root "a" | "b"', "'root' is left-recursive"),
        ('root ::= a "x"\na ::= b\nb ::= root "y" | "z"', "left-recursive"),
        ('root ::= f root "x" | "y"\nf ::= e\ne ::= "a"?', "left-recursive"),
        ('root ::= ("a"*)*', "left-recursive"),
        ("root ::= foo", "'foo' is not defined"),
        ('foo ::= "a"', "no rule 'root'"),
        ("", "no rule 'root'"),
        ('root ::= "a"\nroot ::= "b"', r"defined twice \(line 2\)"),
        ('root ::= "a"{2001}', "more than 2000 repetitions"),
        ('root ::= "a"{1,2001}', "more than 2000 repetitions"),
        ('root ::= "a"{99999999999999999999}', "more than 2000 repetitions"),
        ('root ::= (("a" | "b"){0,100}){100}', "multiply to more than 2000"),
        ('root ::= "a"{5,2}', "runs backwards"),
        ('root ::= ""*', "nothing to repeat"),
        ("root ::= *", "nothing to repeat"),
        ('root ::= "a"{', "a number is expected"),
        ('root ::= "a"{1', "'}' is expected"),
        ('root ::= "' + "a" * 15_000 + '"{2000}', "200000 elements"),
        ('root ::= "' + "a" * 1_000 + '"{0,500}', "200000 elements"),
        ("root ::= " + "(" * 201 + '"a"' + ")" * 201, "more than 200 deep"),
        ('root ::= ("a"', r"'\)' is expected"),
        ('root ::= "a")', "is not expected here"),
        ('root = "a"', "'::=' is expected"),
        ('::= "a"', "a rule's name is expected"),
        ("root ::= []", "character class is empty"),
        ("root ::= [^]", "character class is empty"),
        ("root ::= [z-a]", "runs backwards"),
        ("root ::= [a", "ends inside"),
        ('root ::= "a', "ends inside"),
        ('root ::= "\\', "is no escape"),
        ('root ::= "\\q"', "is no escape"),
        ('root ::= "\\x4"', "2 hex digits"),
        ('root ::= "\\u12_4"', "4 hex digits"),
        ("root ::= <99999999999", "a token is written"),
        ("root ::= <[9999999999]>", "a token is written"),
        ("root ::= !a", "a token is written"),
        ('root ::= "a"\0', "NUL"),
        ('root ::= "\ud800"', "not valid Unicode"),
        ("root ::= " + " " * 17_000 + '"a"', "the limit is 16384"),
        ("root ::= " + " ".join(["[a-z]?"] * 1_100), "alternatives begin at one place"),
        ("root ::= " + "|".join(f'"{n}"' for n in range(2_001)), "alternatives begin at one place"),
        (
            "root ::= r0\n"
            + "\n".join(f'r{n} ::= r{n + 1} "a" | r{n + 1} "b"' for n in range(25))
            + '\nr25 ::= "x"',
            "begin with each other",
        ),
        ('root ::= "x" root "y" | "x" root "z" | "w"', "ambiguous"),
        ('root ::= "x" (root "y")? root "z" | "w"', "ambiguous"),
        ('root ::= "q" s\ns ::= [a-f] [a-c] s "y" | [b-z] "b" s "z" | "!"', "ambiguous"),
        ("root ::= <[1]> root <[2]> | <[1]> root <[3]> | <[4]>", "ambiguous"),
    ],
)
def test_a_grammar_that_would_harm_is_refused_with_its_reason(gbnf: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_gbnf(gbnf)


@pytest.mark.parametrize(
    ("gbnf", "yes", "no"),
    [
        ('root ::= ("a"{40}){40}', ["a" * 1_600], ["a" * 1_599]),
        (
            'root ::= "a"{0} [b-d]{2,} ("e" | "f"){1,3} .{0,5} # a comment\n',
            ["bbe", "bcdefe12345"],
            ["be", "abbe"],
        ),
        ('root ::= (\n  "a" |\n  "b"\n)\r\n# end', ["a", "b"], ["", "ab"]),
        (
            'root ::= [^\\x00-\\x1F"\\\\] "\\u00e9\\U0001F600é" [\\]\\-\\[]',
            ["xé😀é]", "yé😀é-"],
            ['"é😀é]', "xé😀é"],
        ),
        ("root ::= [a-] [-z]\n", ["a-", "-z"], ["b-"]),
        ("root ::= " + "(" * 190 + '"a"' + ")" * 190, ["a"], ["b"]),
        ('root ::= "(" root ")" | ""\n', ["", "(())"], ["(()"]),
        ('root ::= item+\nitem ::= "- " [^\\n]+ "\\n"', ["- a\n- b\n"], ["- a", ""]),
        ('root ::= "a" | |\n"b"', ["a", "", "b"], ["ab"]),
    ],
)
def test_a_sound_grammar_passes_and_means_what_it_says(gbnf: str, yes: list[str], no: list[str]) -> None:
    check_gbnf(gbnf)
    assert [text for text in yes if not admits(gbnf, text)] == []
    assert [text for text in no if admits(gbnf, text)] == []


@settings(deadline=None)
@given(st.text(alphabet='ab"|()[]*+?{}0123456789,:=<>!.\\#^- \nrot', max_size=80))
def test_any_text_is_decided(text: str) -> None:
    for gbnf in (text, f"root ::= {text}"):
        with contextlib.suppress(InvalidRequest):
            check_gbnf(gbnf)
