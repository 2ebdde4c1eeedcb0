"""Drafts: tokens that may follow, guessed cheaply and verified in one batch.

Two ways to guess. Prompt look-up (`lookup.py`): text that repeats what came before. And a `Proposer` (a small
model, `draft.py`), where one is loaded and look-up has nothing to say. A draft of k tokens makes a step
longer but saves up to k steps; whether that pays depends on how often guesses of this kind were right
(counted for each sequence) and on what a step costs here (`cost.py`). `draft_length` weighs both; a sequence
whose guesses fail stops guessing. Verification samples every token from the model as without a draft, so the
output does not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from appliance.engine.cost import StepCost
from appliance.engine.kv_cache import Scope

_PROPOSER_PRIOR = (6.0, 3.0)
_MEMORY = 48.0
"""Guesses remembered; older ones fade."""
MAX_DRAFT = 32
DRAFT_TOKENS_PER_STEP = 64
"""Over all sequences; it sizes the logits buffer."""
_LENGTHS = (2, 4, 8, 12, 16, 24, 32)
_MIN_GAIN = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A sequence that may have a draft."""

    key: int
    """Its own as long as it runs."""
    scope: Scope
    tokens: list[int]
    longest: int
    """The draft's length at most."""


class Proposer(Protocol):
    """Guesses by other means than look-up. Owned by the engine's thread."""

    def guess_s(self, n_sequences: int) -> float:
        """Seconds of one more guess for each of so many sequences, together."""

    def propose(self, wanted: Sequence[Wanted], running: AbstractSet[int]) -> dict[int, list[int]]:
        """Drafts by key; no entry: none yet. `running`: keys of all sequences that have not ended."""

    def set_threads(self, n_threads: int) -> None: ...


class Acceptance:
    """How often guesses of one kind were right. Owned by the engine's thread."""

    def __init__(self, right: float = _PROPOSER_PRIOR[0], wrong: float = _PROPOSER_PRIOR[1]) -> None:
        """So many right and wrong guesses are imagined before the first real one."""
        self._right, self._wrong = right, wrong

    @property
    def rate(self) -> float:
        return self._right / (self._right + self._wrong)

    def judge(self, drafted: int, accepted: int) -> None:
        """Learn from a verified draft: each accepted token was right, the one after them (if any was left)
        wrong.
        """
        self._right += accepted
        self._wrong += 1 if accepted < drafted else 0
        total = self._right + self._wrong
        if total > _MEMORY:
            self._right *= _MEMORY / total
            self._wrong *= _MEMORY / total


def draft_length(
    acceptance: float,
    step_tokens: int,
    cost: StepCost,
    longest: int,
    *,
    drafting: int = 1,
    guess_s: float = 0.0,
) -> int:
    """The draft length with the best expected tokens per second; 0 when none beats no draft by a tenth.

    `acceptance`: probability that one guessed token is right. `step_tokens`: tokens of the step without a
    draft. `drafting`: so many sequences get a draft of this length. `guess_s`: what guessing one token for
    each of them costs.
    """
    if longest < 1:
        return 0
    # Sequences of one length are one pass, however long; what is longer than others is one more.
    passes = 1 if step_tokens == drafting else 2
    plain = step_tokens / cost.predict_s(passes=1, tokens=step_tokens)
    best, best_rate = 0, plain * _MIN_GAIN
    for length in _LENGTHS:
        size = min(length, longest)
        gained = acceptance * (1 - acceptance**size) / (1 - acceptance) if acceptance < 1 else size
        tokens = step_tokens + drafting * size
        seconds = cost.predict_s(passes=passes, tokens=tokens) + size * guess_s
        rate = (step_tokens + drafting * gained) / seconds
        if rate > best_rate:
            best, best_rate = size, rate
        if length >= longest:
            break
    return best
