"""`best_of` of /v1/completions: of the choices made for a prompt, those whose tokens are likeliest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from appliance.api.dialect.collect import Choice


def best_of(choices: Sequence[Choice], *, made: int, kept: int) -> list[Choice]:
    """`made` choices stand there for each prompt, in order; `kept` of each stay, the likeliest first, and are
    numbered anew.
    """
    if made == kept:
        return list(choices)
    best: list[Choice] = []
    for start in range(0, len(choices), made):
        best += sorted(choices[start : start + made], key=_likelihood, reverse=True)[:kept]
    return [replace(choice, index=index) for index, choice in enumerate(best)]


def _likelihood(choice: Choice) -> float:
    """Log-probability per token, as OpenAI has it; of no token at all: certain."""
    logprobs = choice.logprobs
    return sum(token.logprob for token in logprobs) / len(logprobs) if logprobs else 0.0
