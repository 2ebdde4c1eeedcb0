"""Reads and writes text by a grammar, as llama.cpp's stack machine does: what a model under it could say."""

from __future__ import annotations

import random
from functools import lru_cache

from appliance.engine.gbnf_parse import Grammar, parse_gbnf
from appliance.engine.gbnf_probe import Machine

_AMPLE = 10**9


@lru_cache(maxsize=16)
def _parsed(gbnf: str) -> Grammar:
    """One grammar is asked about hundreds of texts."""
    return parse_gbnf(gbnf, param="gbnf", max_elements=_AMPLE)


def admits(gbnf: str, text: str) -> bool:
    """Whether `text` is a whole answer."""
    grammar = _parsed(gbnf)
    machine = Machine(grammar, budget=_AMPLE)
    stacks = machine.begin(grammar.root)
    for char in text:
        stacks = machine.read(stacks, ord(char))
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
