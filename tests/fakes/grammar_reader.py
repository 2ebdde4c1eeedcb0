"""Reads and writes text by a grammar, as llama.cpp's stack machine does: what a model under it could say."""

from __future__ import annotations

import random
from functools import lru_cache

from appliance.engine.gbnf_parse import Grammar, parse_gbnf
from appliance.engine.gbnf_probe import Machine

_Stacks = set[tuple[int, ...]]

_AMPLE = 10**9
_SHORT = 8


@lru_cache(maxsize=16)
def _parsed(gbnf: str) -> Grammar:
    """One grammar is asked about hundreds of texts."""
    return parse_gbnf(gbnf, param="gbnf", max_elements=_AMPLE)


@lru_cache(maxsize=16)
def _machine(gbnf: str) -> tuple[Machine, dict[str, _Stacks]]:
    """And where it stands after short texts, which begin alike."""
    grammar = _parsed(gbnf)
    machine = Machine(grammar, budget=_AMPLE)
    return machine, {"": machine.begin(grammar.root)}


def admits(gbnf: str, text: str) -> bool:
    """Whether `text` is a whole answer."""
    machine, known = _machine(gbnf)
    stacks = known[""]
    for end, char in enumerate(text, start=1):
        after = known.get(text[:end]) if end <= _SHORT else None
        if after is None:
            after = machine.read(stacks, ord(char))
            if end <= _SHORT:
                known[text[:end]] = after
        stacks = after
    return () in stacks


def spoken(gbnf: str, rng: random.Random, *, short_after: int = 60, limit: int = 3_000) -> str | None:
    """A random answer; None when it had not ended by `limit` characters."""
    grammar = _parsed(gbnf)
    machine = Machine(grammar, budget=_AMPLE)
    stacks = machine.begin(grammar.root)
    text: list[str] = []
    while len(text) < limit:
        if () in stacks and (len(stacks) == 1 or len(text) > short_after or rng.random() < 0.3):
            return "".join(text)
        low, high = rng.choice(rng.choice([machine.terminal(stack) for stack in stacks if stack]).ranges)
        code = rng.randint(low, min(high, max(low, 0x17E)))
        text.append(chr(code))
        stacks = machine.read(stacks, code)
    return None
