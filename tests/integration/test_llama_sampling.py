"""Every sampling parameter does what it is for, and the same again under a seed."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from appliance.engine.llama.model import LlamaModel
from appliance.engine.llama.sampler import Candidates, LlamaSampler
from appliance.errors import InvalidRequest
from appliance.wire.messages import Constraint, ConstraintKind, FinishReason, LogitBias, SamplingParams
from tests.fakes.tiny_gguf import N_VOCAB
from tests.integration.llama_desk import GREEDY, Desk

pytestmark = pytest.mark.integration

PROMPT = "Hello, the world is"
NEUTRAL = SamplingParams(
    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0, seed=11, ignore_eos=True
)
"""The model's own distribution: nothing truncates or penalises."""


def with_(**changes: object) -> SamplingParams:
    return msgspec.structs.replace(NEUTRAL, **changes)


VARIANTS = {
    "top_k": with_(top_k=3),
    "top_p": with_(top_p=0.3),
    "min_p": with_(min_p=0.5),
    "typical": with_(typical_p=0.2),
    "top_n_sigma": with_(top_n_sigma=0.5),
    "xtc": with_(xtc_probability=1.0, xtc_threshold=0.01),
    "dry": with_(dry_multiplier=40.0, dry_allowed_length=1, dry_sequence_breakers=["@"]),
    "mirostat 1": with_(mirostat=1, mirostat_tau=1.0),
    "mirostat 2": with_(mirostat=2, mirostat_tau=1.0),
    "temperature": with_(temperature=0.2),
    "dynamic temperature": with_(temperature=1.0, dynatemp_range=0.9),
    "repeat penalty": with_(repeat_penalty=3.0, repeat_last_n=-1),
    "presence penalty": with_(presence_penalty=2.0),
    "frequency penalty": with_(frequency_penalty=2.0),
    "logit bias": with_(logit_bias=[LogitBias(token=70, bias=8.0)]),
}


@pytest.fixture
def desk(tiny_model: Path) -> Iterator[Desk]:
    with Desk(tiny_model) as made:
        yield made


def tokens(desk: Desk, sampling: SamplingParams, *, max_tokens: int = 60) -> list[int]:
    return desk.ask(PROMPT, sampling=sampling, max_tokens=max_tokens).tokens


@pytest.mark.parametrize("name", VARIANTS)
def test_a_parameter_changes_the_answer_and_is_deterministic_under_its_seed(desk: Desk, name: str) -> None:
    first = tokens(desk, VARIANTS[name])
    assert first == tokens(desk, VARIANTS[name])
    assert first != tokens(desk, NEUTRAL)


@pytest.mark.parametrize(
    "greedy",
    [
        with_(top_k=1),
        with_(top_p=0.0),
        with_(min_p=1.0),
        with_(temperature=0.0, top_k=7, top_p=0.5, min_p=0.3),
        with_(temperature=0.001),
    ],
)
def test_what_leaves_one_token_is_greedy(desk: Desk, greedy: SamplingParams) -> None:
    assert tokens(desk, greedy) == tokens(desk, GREEDY)


@pytest.mark.parametrize(
    "idle",
    [
        with_(repeat_penalty=3.0, repeat_last_n=0),
        with_(xtc_probability=0.0, xtc_threshold=0.01),
        with_(dry_multiplier=0.0, dry_base=9.0),
        with_(mirostat=0, mirostat_tau=1.0),
        with_(logit_bias=[LogitBias(token=70, bias=0.0)]),
    ],
)
def test_a_parameter_at_its_neutral_value_keeps_the_answer(desk: Desk, idle: SamplingParams) -> None:
    assert tokens(desk, idle) == tokens(desk, NEUTRAL)


@pytest.mark.parametrize("base", [GREEDY, NEUTRAL])
def test_a_bias_of_plus_hundred_forces_a_token(desk: Desk, base: SamplingParams) -> None:
    sampling = msgspec.structs.replace(base, logit_bias=[LogitBias(token=70, bias=100.0)])
    assert set(tokens(desk, sampling)) == {70}


@pytest.mark.parametrize("base", [GREEDY, with_(temperature=0.5)])
def test_a_bias_of_minus_hundred_bans_a_token(desk: Desk, base: SamplingParams) -> None:
    usual = set(tokens(desk, base))
    banned = [LogitBias(token=token, bias=-100.0) for token in usual]
    assert not usual & set(tokens(desk, msgspec.structs.replace(base, logit_bias=banned)))


def test_a_bias_outside_the_vocabulary_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tokens(desk, with_(logit_bias=[LogitBias(token=N_VOCAB, bias=1.0)]))
    assert refused.value.param == "logit_bias"


@pytest.mark.parametrize(
    "sampling",
    [
        with_(temperature=0.0, repeat_penalty=100.0, repeat_last_n=-1),
        with_(temperature=0.0, presence_penalty=50.0, repeat_last_n=-1),
        with_(temperature=0.0, frequency_penalty=50.0, repeat_last_n=-1),
    ],
)
def test_a_heavy_penalty_lets_no_token_come_twice(desk: Desk, sampling: SamplingParams) -> None:
    assert max(Counter(tokens(desk, sampling)).values()) == 1


def test_the_prompt_counts_for_the_penalties(desk: Desk) -> None:
    said = tokens(desk, GREEDY, max_tokens=1)
    sampling = with_(temperature=0.0, presence_penalty=50.0, repeat_last_n=-1)
    answer = desk.ask([5, 6, *said, 7], sampling=sampling, max_tokens=20)
    assert not set(answer.tokens) & {5, 6, 7, *said}


def test_top_k_keeps_to_the_k_likeliest(desk: Desk) -> None:
    answer = desk.ask(PROMPT, sampling=with_(top_k=3), max_tokens=80, top_logprobs=3)
    for one in answer.logprobs:
        assert one.token in {entry.token for entry in one.top}


def test_top_p_keeps_to_the_nucleus(desk: Desk) -> None:
    answer = desk.ask(PROMPT, sampling=with_(top_p=0.5), max_tokens=80, top_logprobs=N_VOCAB)
    for one in answer.logprobs:
        likelier = sum(np.exp(entry.logprob) for entry in one.top if entry.logprob > one.logprob)
        assert likelier < 0.5


def test_min_p_drops_what_is_far_less_likely_than_the_best(desk: Desk) -> None:
    answer = desk.ask(PROMPT, sampling=with_(min_p=0.4), max_tokens=80, top_logprobs=1)
    for one in answer.logprobs:
        assert np.exp(one.logprob - one.top[0].logprob) >= 0.4 - 1e-6


def test_xtc_drops_the_likeliest_where_others_are_good_enough(desk: Desk) -> None:
    sampling = with_(xtc_probability=1.0, xtc_threshold=0.01)
    answer = desk.ask(PROMPT, sampling=sampling, max_tokens=80, top_logprobs=2)
    eligible = [one for one in answer.logprobs if np.exp(one.top[1].logprob) > 0.0101]
    assert eligible
    assert all(one.token != one.top[0].token for one in eligible)


def test_dry_breaks_a_loop(desk: Desk) -> None:
    loop = [70, 71, 72, 73] * 8
    bias = [LogitBias(token=token, bias=30.0) for token in (70, 71, 72, 73)]
    sampling = SamplingParams(temperature=0.0, logit_bias=bias, ignore_eos=True)
    dry = msgspec.structs.replace(sampling, dry_multiplier=20.0, dry_allowed_length=2)
    assert (
        desk.ask(loop, sampling=dry, max_tokens=30).tokens
        != desk.ask(loop, sampling=sampling, max_tokens=30).tokens
    )


def test_samples_follow_the_distribution_of_the_model(tiny_model: Path) -> None:
    model = LlamaModel(str(tiny_model), name="tiny")
    try:
        logits = np.full(model.n_vocab, -np.inf, np.float32)
        logits[[70, 71, 72]] = np.log([0.6, 0.3, 0.1]).astype(np.float32)
        sampler = LlamaSampler(model, NEUTRAL, seed=5, grammar=None, n_ctx=512)
        candidates, seen = Candidates(model.n_vocab), Counter[int]()
        for _ in range(3000):
            chosen = sampler.sample(logits.copy(), candidates)
            assert chosen is not None
            seen[chosen] += 1
        sampler.close()
    finally:
        model.close()
    assert [seen[token] / 3000 for token in (70, 71, 72)] == pytest.approx([0.6, 0.3, 0.1], abs=0.04)


def test_ignore_eos_bans_every_end_token(tiny_model: Path) -> None:
    model = LlamaModel(str(tiny_model), name="tiny")
    try:
        logits = np.zeros(model.n_vocab, np.float32)
        logits[model.end_tokens] = 50.0
        sampler = LlamaSampler(model, GREEDY, seed=1, grammar=None, n_ctx=512)
        assert sampler.sample(logits, Candidates(model.n_vocab)) not in model.end_tokens
        sampler.close()
        assert len(model.end_tokens) >= 2
    finally:
        model.close()


# ── grammars ────────────────────────────────────────────────────────────────────────────────────────────────

SAMPLINGS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=1.0, seed=3),
    SamplingParams(temperature=1.0, seed=3, mirostat=2),
    SamplingParams(temperature=1.5, seed=4, top_k=2),
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_grammar_constrains_even_a_random_model(desk: Desk, sampling: SamplingParams) -> None:
    constraint = Constraint(kind=ConstraintKind.GBNF, gbnf='root ::= ("yes" | "no") "!"')
    answer = desk.ask(PROMPT, sampling=sampling, constraint=constraint)
    assert answer.text in {"yes!", "no!"}
    assert answer.finish_reason is FinishReason.STOP


def test_a_grammar_over_characters_of_several_bytes_is_kept(desk: Desk) -> None:
    constraint = Constraint(kind=ConstraintKind.GBNF, gbnf="root ::= [äöü€😀]{12}")
    for seed in range(5):
        answer = desk.ask(
            PROMPT, sampling=SamplingParams(temperature=1.5, seed=seed), constraint=constraint, max_tokens=100
        )
        assert len(answer.text) == 12 and set(answer.text) <= set("äöü€😀")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_json_schema_is_followed_by_a_random_model(desk: Desk, sampling: SamplingParams) -> None:
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "sure": {"type": "boolean"},
            "n": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["colour", "sure", "n"],
        "additionalProperties": False,
    }
    constraint = Constraint(kind=ConstraintKind.JSON_SCHEMA, schema=schema)
    said = json.loads(desk.ask(PROMPT, sampling=sampling, constraint=constraint, max_tokens=200).text)
    assert set(said) == {"colour", "sure", "n"}
    assert said["colour"] in {"red", "green"} and isinstance(said["sure"], bool) and 0 <= said["n"] <= 99


def test_json_mode_never_leaves_json(desk: Desk) -> None:
    constraint = Constraint(kind=ConstraintKind.JSON_OBJECT)
    for seed in range(5):
        sampling = SamplingParams(temperature=1.0, seed=seed)
        answer = desk.ask(PROMPT, sampling=sampling, constraint=constraint, max_tokens=300)
        assert answer.text.lstrip().startswith("{")
        if answer.finish_reason is FinishReason.STOP:
            assert isinstance(json.loads(answer.text), dict)


def test_a_grammar_is_kept_with_speculation_and_neighbours(tiny_model: Path) -> None:
    constraint = Constraint(kind=ConstraintKind.GBNF, gbnf='root ::= ("ab " | "abc "){30}')
    with Desk(tiny_model, speculation=True) as desk:
        keys = [
            desk.generate(
                f"ab abc ab abc {seed}",
                sampling=SamplingParams(temperature=0.7, seed=seed),
                constraint=constraint,
                max_tokens=200,
            )
            for seed in range(4)
        ]
        desk.finish()
        for key in keys:
            words = desk.answer(key).text.split()
            assert len(words) == 30 and set(words) <= {"ab", "abc"}


def test_ignore_eos_does_not_break_a_grammar_that_is_complete(desk: Desk) -> None:
    constraint = Constraint(kind=ConstraintKind.GBNF, gbnf='root ::= "ok"')
    answer = desk.ask(PROMPT, sampling=GREEDY, constraint=constraint)
    assert (answer.text, answer.finish_reason) == ("ok", FinishReason.STOP)


def test_a_bad_grammar_is_refused_and_the_engine_lives_on(desk: Desk) -> None:
    with pytest.raises(InvalidRequest):
        desk.ask(PROMPT, constraint=Constraint(kind=ConstraintKind.GBNF, gbnf="root ::= foo"))
    assert desk.ask(PROMPT, max_tokens=3).tokens


def test_a_grammar_of_letters_gives_letters(desk: Desk) -> None:
    constraint = Constraint(kind=ConstraintKind.GBNF, gbnf="root ::= [a-z]+")
    answer = desk.ask(PROMPT, sampling=SamplingParams(temperature=1.0, seed=2), constraint=constraint)
    assert answer.text and set(answer.text) <= set(string.ascii_lowercase)
