"""Small grammars at random, in GBNF, honest and hostile alike: to compare readers and to measure them."""

from __future__ import annotations

import random

_ATOMS = ('"a"', '"b"', '"ab"', "[ab]", "[a-c]", "[^a]", '"é"', "[a-é]", ".", '""')
_TIMES = ("", "", "", "", "*", "+", "?", "{2}", "{0,3}", "{1,}")


def random_grammar(rng: random.Random, *, rules: int = 3) -> str:
    """Rules refer to later ones, and after a terminal to any."""
    lines = []
    for number in range(rules):
        alternatives = [_sequence(rng, number, rules) for _ in range(rng.randint(1, 3))]
        name = "root" if number == 0 else f"r{number}"
        lines.append(f"{name} ::= {' | '.join(alternatives)}")
    return "\n".join(lines)


def _sequence(rng: random.Random, number: int, rules: int) -> str:
    parts = []
    for place in range(rng.randint(1, 4)):
        refers = rng.random() < 0.3
        first = number + 1 if place == 0 else 0
        if refers and first < rules:
            chosen = rng.randrange(first, rules)
            parts.append(("root" if chosen == 0 else f"r{chosen}") + rng.choice(_TIMES))
        elif rng.random() < 0.15:
            parts.append(
                f"({rng.choice(_ATOMS)} | {rng.choice(_ATOMS)} {rng.choice(_ATOMS)}){rng.choice(_TIMES)}"
            )
        else:
            atom = rng.choice(_ATOMS)
            parts.append(atom + (rng.choice(_TIMES) if atom != '""' else ""))
    return " ".join(parts)
