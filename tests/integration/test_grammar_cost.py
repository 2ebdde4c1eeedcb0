"""What a grammar costs over a real vocabulary (the starter model's), and that it means what llama.cpp means.

Whatever passes the checks is walked: at each place the whole vocabulary is judged, and one of the allowed
tokens taken. A place may take as long as a step has time for others, or the grammar is refused by name.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.engine.constraint import compile_constraint
from appliance.engine.gbnf_check import check_gbnf
from appliance.engine.gbnf_matcher import GrammarMatcher, GrammarVocabulary
from appliance.engine.llama.model import LlamaModel
from appliance.errors import InvalidRequest
from appliance.wire.messages import Constraint, ConstraintKind
from tests.daemon import STARTER
from tests.fakes.random_grammars import random_grammar
from tests.integration.test_grammars import ENUM, GOOD, PERSON, WIDE

pytestmark = [
    pytest.mark.alone,
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not STARTER.exists(), reason="the starter model is missing: `make run` gets it"),
]

PLACE_WITHIN_S = 0.3
"""100 ms and what a busy machine adds."""
DECIDED_WITHIN_S = 2.0
PLACES = 40

DOUBLING = 'b ::= "x" b "y" | "x" b "z" | "w"\n'
SIXTEEN = f'b ::= "{"x" * 16}" b "y" | "{"x" * 16}" b "z" | "w"\n'
DECOYS = "".join(f'd{n} ::= "q" d{n} "y" | "w"\n' for n in range(50))


def pattern(text: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{text}$"}


SCHEMAS: dict[str, Any] = {
    "stars": pattern("[a-z]*" * 42),
    "pluses": pattern("[a-z]+" * 42),
    "options": pattern("[a-z]?" * 42),
    "counted stars": pattern("([a-z]{0,9}[a-z]*){9}"),
    "nested stars": pattern("(([a-z]*x)+[a-z]+)+[a-z]*"),
    "alternatives of stars": pattern("(" + "|".join(["[a-z]*x[a-z]*"] * 18) + ")"),
    "any of many stars": {"anyOf": [pattern(f"[a-z]*{chr(97 + n % 26)}[a-z]*") for n in range(100)]},
    "what came long before": pattern(".*[aeiou].{40}x"),
    "enum": ENUM,
    "wide": WIDE,
    "person": PERSON,
    "anything": {},
}
GRAMMARS = {
    "doubling": "root ::= b\n" + DOUBLING,
    "doubling among decoys out of reach": "root ::= b\n" + DOUBLING + DECOYS,
    "doubling among decoys in reach": "root ::= b | "
    + " | ".join(f"d{n}" for n in range(50))
    + "\n"
    + DOUBLING
    + DECOYS,
    "doubling every sixteen": "root ::= b\n" + SIXTEEN,
    "doubling every sixteen among decoys": "root ::= b\n" + SIXTEEN + DECOYS,
    "doubling after a long beginning": f'root ::= "{"a" * 70}" b\n' + DOUBLING,
    "doubling by letters": 'root ::= [a-z] root [a-y] | [a-z] root [b-z] | "!"',
    "misled": 'root ::= b | c\nb ::= "x" b "y" | "x" b "z" | "w"\nc ::= [a-w] c [a-w] | [a-w] c [a-v] | "!"',
    "stars of one letter": "root ::= " + " ".join(['"x"*'] * 900) + ' "y"',
    "stars": "root ::= " + " ".join(["[a-z]*"] * 900),
    "what came before": 'root ::= .* [a-m] .{14} "!"',
    "what came long before": 'root ::= .* [aeiou] .{1,500} "!"',
    "many endless alternatives": "root ::= "
    + " | ".join(f"[{chr(97 + n % 25)}-z]* [{n % 10}]" for n in range(900)),
}


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    opened = LlamaModel(str(STARTER), name="starter")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def vocabulary(model: LlamaModel) -> GrammarVocabulary:
    return GrammarVocabulary(
        model.pieces(frozenset()),
        end_tokens=model.end_tokens,
        token_of=lambda written: int(written[2:-2]),
    )


def longest_place_s(vocabulary: GrammarVocabulary, gbnf: str, rng: random.Random) -> float:
    """Walks until the grammar ends or is refused, and rather through long tokens."""
    longest = 0.0
    with suppress(InvalidRequest):
        matcher = GrammarMatcher(vocabulary.grammar(gbnf, param="grammar"))
        for _ in range(PLACES):
            begun = time.perf_counter()
            try:
                going_on = np.flatnonzero(matcher.allowed() & vocabulary.has_text).tolist()
                if not going_on:
                    break
                some = rng.sample(going_on, min(3, len(going_on)))
                matcher.accept(max(some, key=lambda one: len(vocabulary.pieces[one])))
            finally:
                longest = max(longest, time.perf_counter() - begun)
    return longest


def is_refused(vocabulary: GrammarVocabulary, gbnf: str) -> bool:
    """Before any token; then the field is named."""
    begun = time.perf_counter()
    try:
        check_gbnf(gbnf)
        vocabulary.grammar(gbnf, param="grammar")
    except InvalidRequest as refused:
        return refused.param == "grammar"
    finally:
        assert time.perf_counter() - begun < DECIDED_WITHIN_S
    return False


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_place_of_a_schema_takes_long(vocabulary: GrammarVocabulary, name: str) -> None:
    begun = time.perf_counter()
    compiled = compile_constraint(Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=SCHEMAS[name]), None)
    assert compiled is not None
    vocabulary.grammar(compiled.gbnf, param="grammar")
    assert time.perf_counter() - begun < DECIDED_WITHIN_S
    for seed in range(3):
        assert longest_place_s(vocabulary, compiled.gbnf, random.Random(seed)) < PLACE_WITHIN_S


@pytest.mark.parametrize("name", [*GRAMMARS, *GOOD])
def test_a_grammar_is_refused_in_time_or_none_of_its_places_takes_long(
    vocabulary: GrammarVocabulary, name: str
) -> None:
    gbnf = {**GRAMMARS, **GOOD}[name]
    if is_refused(vocabulary, gbnf):
        assert name in GRAMMARS
        return
    for seed in range(3):
        assert longest_place_s(vocabulary, gbnf, random.Random(seed)) < PLACE_WITHIN_S


def test_no_place_of_a_random_grammar_takes_long(vocabulary: GrammarVocabulary) -> None:
    walked = 0
    for seed in range(150):
        rng = random.Random(seed)
        gbnf = random_grammar(rng, rules=rng.randint(1, 5))
        if not is_refused(vocabulary, gbnf):
            walked += 1
            assert longest_place_s(vocabulary, gbnf, rng) < PLACE_WITHIN_S, gbnf
    assert walked > 40


# ── what llama.cpp makes of the same ────────────────────────────────────────────────────────────────────────

ORACLE = """
import ctypes, json, sys
import numpy as np
from llama_cpp import llama_cpp as b
b.llama_log_set(ctypes.cast(None, b.llama_log_callback), ctypes.c_void_p(0))
params = b.llama_model_default_params()
params.vocab_only = True
vocab = b.llama_model_get_vocab(b.llama_model_load_from_file(sys.argv[1].encode(), params))
n_vocab = b.llama_vocab_n_tokens(vocab)
rows = np.zeros(n_vocab, [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
array = b.llama_token_data_array()
for line in sys.stdin:
    gbnf, tokens = json.loads(line)
    sampler = b.llama_sampler_init_grammar(vocab, gbnf.encode(), b"root")
    masks = []
    for token in [None, *tokens]:
        if token is not None:
            b.llama_sampler_accept(sampler, token)
        rows["id"], rows["logit"] = np.arange(n_vocab), 0
        array.data = ctypes.cast(rows.ctypes.data, b.llama_token_data_p)
        array.size, array.selected, array.sorted = n_vocab, -1, False
        b.llama_sampler_apply(sampler, ctypes.byref(array))
        masks.append(np.packbits(np.isfinite(rows["logit"])).tobytes().hex())
    b.llama_sampler_free(sampler)
    print(json.dumps(masks), flush=True)
"""


def comparable(model: LlamaModel, vocabulary: GrammarVocabulary) -> NDArray[np.bool_]:
    """Without control tokens, whose hidden text llama.cpp reads as if it were shown, and without parts of
    characters, of which it also takes overlong ones.
    """
    whole = vocabulary.has_text.copy()
    for token, piece in enumerate(vocabulary.pieces):
        text = piece.decode("utf-8", "ignore")
        whole[token] &= text.encode() == piece and "\0" not in text and not model.is_control(token)
    whole[vocabulary.end_list] = True
    return whole


def walked(vocabulary: GrammarVocabulary, gbnf: str, whole: NDArray[np.bool_], rng: random.Random) -> Any:
    """A few tokens, and the mask before each and after the last."""
    matcher = GrammarMatcher(vocabulary.grammar(gbnf, param="grammar"))
    tokens: list[int] = []
    masks = [matcher.allowed()]
    while len(tokens) < 4:
        going_on = [one for one in np.flatnonzero(masks[-1] & whole).tolist() if one not in vocabulary.ends]
        if not going_on:
            break
        tokens.append(rng.choice(going_on))
        matcher.accept(tokens[-1])
        masks.append(matcher.allowed())
    return tokens, masks


def test_the_same_tokens_are_allowed_as_by_llama_cpp(
    model: LlamaModel, vocabulary: GrammarVocabulary
) -> None:
    whole = comparable(model, vocabulary)
    asked: list[tuple[str, list[int]]] = []
    expected: list[list[NDArray[np.bool_]]] = []
    grammars = list(GOOD.values())
    for schema in (PERSON, ENUM, {}):
        compiled = compile_constraint(Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=schema), None)
        assert compiled is not None
        grammars.append(compiled.gbnf)
    grammars += [random_grammar(random.Random(seed)) for seed in range(60)]
    for seed, gbnf in enumerate(grammars):
        try:
            check_gbnf(gbnf, max_bytes=10**6)
            tokens, masks = walked(vocabulary, gbnf, whole, random.Random(seed))
        except InvalidRequest:
            continue
        asked.append((gbnf, tokens))
        expected.append(masks)
    child = subprocess.run(
        [sys.executable, "-c", ORACLE, str(STARTER)],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(answers) == len(asked) > 30
    for (gbnf, tokens), masks, told in zip(asked, expected, answers, strict=True):
        for place, (mask, text) in enumerate(zip(masks, told, strict=True)):
            theirs = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=len(mask)).view(
                np.bool_
            )
            differ = np.flatnonzero((mask != theirs) & whole)
            assert not differ.size, (
                gbnf[:300],
                tokens[:place],
                [vocabulary.pieces[one] for one in differ[:5]],
            )
