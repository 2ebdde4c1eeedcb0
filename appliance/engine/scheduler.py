"""How many tokens of each sequence the next step computes: a pure decision.

Prefill, chunked prefill and decode are one thing (vLLM's idea): a schedule maps sequences to numbers of
tokens.

    1. Every decoding sequence gets its token, and its draft if it has one. They are never kept waiting, but
       where heat allows fewer tokens than there are sequences: then all take turns; and where decoding alone
       fills most of a step and short prompts wait: then these have every second step to themselves.
    2. What is left of the step goes to prefill:
       a. nobody decodes: as much as the time bound takes;
       b. short prompts: as much as the time bound takes, so that a burst of them starts soon (each is a short
          stall, and a sequence is a short prompt only once);
       c. long prompts: no more time than the decodes take, so that one at most doubles their gap.
    3. Prefill is shared: half to the oldest sequence, the rest to the shortest, so that neither short prompts
       nor long ones starve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.engine.cost import StepCost

_GAP_FACTOR = 1.9
"""Of the decode step's own time; the promise is 2."""

_LEAST_PREFILL = 8
"""Prefill tokens of a step in which nobody decodes, however slow the board: smaller ones pay for passes."""

SHORT_PROMPT = 128
"""Most tokens to compute of a prompt that is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One running sequence as the scheduler sees it."""

    key: int
    arrived: int
    """Order of arrival."""
    remaining_prompt: int
    """Prompt tokens not computed yet; 0: it decodes."""
    whole_prompt: int
    """Prompt tokens that were not computed when it started: the tail of a long prompt is no short prompt."""
    draft: int = 0
    last_step: int = 0
    """When it was last computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    bound_s: float
    n_batch: int
    token_budget: int | None = None
    """A further bound on the tokens of a step (heat)."""
    step: int = 0
    """The number of this step, as in `Pending.last_step`."""


def schedule(sequences: Sequence[Pending], cost: StepCost, limits: StepLimits) -> dict[int, int]:
    """Tokens of each sequence in the next step, by key. Never empty while a sequence runs; never over the
    budget.
    """
    budget = limits.n_batch
    if limits.token_budget is not None:
        budget = max(1, min(budget, limits.token_budget))
    decoding = [sequence for sequence in sequences if sequence.remaining_prompt == 0]
    prefilling = [sequence for sequence in sequences if sequence.remaining_prompt > 0]
    reserved = 1 if prefilling else 0
    if budget < len(decoding) + reserved:
        return _in_turns(sequences, budget)
    plan: dict[int, int] = {}
    if _is_prefills_turn(decoding, prefilling, cost, limits):
        _add_prefill(_short(prefilling), budget, plan, cost, limits.bound_s)
        return plan
    budget -= len(decoding)
    for sequence in decoding:
        drafted = min(sequence.draft, budget - reserved)
        plan[sequence.key] = 1 + drafted
        budget -= drafted
    if prefilling:
        _add_prefill(prefilling, budget, plan, cost, limits.bound_s)
    return plan


def _is_prefills_turn(
    decoding: Sequence[Pending], prefilling: Sequence[Pending], cost: StepCost, limits: StepLimits
) -> bool:
    if not decoding or not _short(prefilling):
        return False
    fills = cost.predict_s(passes=1, tokens=len(decoding)) > limits.bound_s / 2
    return fills and any(sequence.last_step == limits.step - 1 for sequence in decoding)


def _short(prefilling: Sequence[Pending]) -> list[Pending]:
    return [sequence for sequence in prefilling if sequence.whole_prompt <= SHORT_PROMPT]


def _in_turns(sequences: Sequence[Pending], budget: int) -> dict[int, int]:
    """One token each for those that waited longest."""
    waiting = sorted(sequences, key=lambda sequence: (sequence.last_step, sequence.arrived))
    return {sequence.key: 1 for sequence in waiting[:budget]}


def _add_prefill(
    prefilling: Sequence[Pending], budget: int, plan: dict[int, int], cost: StepCost, bound_s: float
) -> None:
    decode_tokens = sum(plan.values())
    if decode_tokens == 0:
        most = max(_LEAST_PREFILL, cost.tokens_within(bound_s))
        _share(prefilling, min(budget, most), plan)  # a
        return
    short = _short(prefilling)
    long = [sequence for sequence in prefilling if sequence.whole_prompt > SHORT_PROMPT]
    if short:
        most = max(1, cost.tokens_within(bound_s, passes=2) - decode_tokens)
        reserved = 1 if long and budget > 1 else 0
        budget -= _share(short, min(budget - reserved, most), plan)  # b
    if long and budget > 0:
        beside = sum(plan.values())
        most = gentle_prefill(decode_tokens, cost, bound_s) - (beside - decode_tokens)
        _share(long, min(budget, max(1, most)), plan)  # c


def gentle_prefill(decode_tokens: int, cost: StepCost, bound_s: float) -> int:
    """Prefill tokens that at most double a step which decodes `decode_tokens`; at least 1."""
    decode_s = cost.predict_s(passes=1, tokens=decode_tokens)
    together_s = min(bound_s, _GAP_FACTOR * decode_s)
    return max(1, cost.tokens_within(together_s, passes=2) - decode_tokens)


def _share(prefilling: Sequence[Pending], allowance: int, plan: dict[int, int]) -> int:
    """Half of `allowance` tokens to the oldest, the rest to the shortest; returns how many were used."""
    oldest = min(prefilling, key=lambda sequence: sequence.arrived)
    plan[oldest.key] = min(oldest.remaining_prompt, max(1, (allowance + 1) // 2))
    left = allowance - plan[oldest.key]
    for sequence in sorted(prefilling, key=lambda sequence: (sequence.remaining_prompt, sequence.arrived)):
        if left <= 0:
            break
        given = plan.get(sequence.key, 0)
        more = min(left, sequence.remaining_prompt - given)
        if more > 0:
            plan[sequence.key] = given + more
            left -= more
    return allowance - left
