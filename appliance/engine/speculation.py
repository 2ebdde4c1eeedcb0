"""Prompt-lookup drafts: text that repeats what came before is guessed from there and verified in one batch.

The draft for a sequence is what followed the last occurrence of its newest tokens. A draft of k tokens makes
a step longer but saves up to k steps; whether that pays depends on how often guesses of this kind were right
(counted per sequence, by the length of the matching context) and on what a step costs here (`cost.py`).
`draft_length` weighs both; a sequence whose guesses fail stops guessing. Verification samples every token
from the model as without a draft, so the output does not depend on it.
"""

from __future__ import annotations

from appliance.engine.cost import StepCost

_NGRAM = 3
_LONGEST_CONTEXT = 24
_CLASS_BOUNDS = (5, 11)
"""Matching contexts of up to 5, up to 11, and more tokens are judged apart."""
_PRIORS = ((1.0, 2.0), (3.0, 2.0), (9.0, 1.0))
"""(right, wrong) guesses imagined before the first real one, by class."""
_MEMORY = 48.0
"""Guesses remembered; older ones fade."""
MAX_DRAFT = 32
DRAFT_TOKENS_PER_STEP = 64
"""Over all sequences; it sizes the logits buffer."""
_LENGTHS = (2, 4, 8, 12, 16, 24, 32)
_MIN_GAIN = 1.1


def draft_length(acceptance: float, step_tokens: int, cost: StepCost, longest: int) -> int:
    """The draft length with the best expected tokens per second; 0 when none beats no draft by a tenth.

    `acceptance`: probability that one guessed token is right. `step_tokens`: tokens of the step without a
    draft.
    """
    plain = step_tokens / cost.predict_s(passes=1, tokens=step_tokens)
    best, best_rate = 0, plain * _MIN_GAIN
    for length in _LENGTHS:
        size = min(length, longest)
        gained = acceptance * (1 - acceptance**size) / (1 - acceptance) if acceptance < 1 else size
        rate = (step_tokens + gained) / cost.predict_s(passes=2, tokens=step_tokens + size)
        if rate > best_rate:
            best, best_rate = size, rate
        if length >= longest:
            break
    return best


class PromptLookup:
    """Guesses for one sequence. Owned by the engine's thread."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._right = [right for right, _ in _PRIORS]
        self._wrong = [wrong for _, wrong in _PRIORS]
        self._class = 0

    def acceptance(self) -> float:
        """Of the class of the last proposal."""
        right, wrong = self._right[self._class], self._wrong[self._class]
        return right / (right + wrong)

    def propose(self, tokens: list[int], step_tokens: int, cost: StepCost, longest: int) -> list[int]:
        """Up to `longest` tokens that may follow `tokens`; empty when there is no guess or none that pays."""
        self._index(tokens)
        if len(tokens) < _NGRAM or longest < 1:
            return []
        follows = self._seen.get(tuple(tokens[-_NGRAM:]))
        if follows is None:
            return []
        self._class = _context_class(tokens, follows)
        length = draft_length(self.acceptance(), step_tokens, cost, min(longest, MAX_DRAFT))
        return tokens[follows : follows + length]

    def judge(self, drafted: int, accepted: int) -> None:
        """Learn from a verified draft: each accepted token was right, the one after them (if any was left)
        wrong.
        """
        self._right[self._class] += accepted
        self._wrong[self._class] += 1 if accepted < drafted else 0
        total = self._right[self._class] + self._wrong[self._class]
        if total > _MEMORY:
            self._right[self._class] *= _MEMORY / total
            self._wrong[self._class] *= _MEMORY / total

    def _index(self, tokens: list[int]) -> None:
        """Enter every n-gram that something follows; the newest occurrence wins."""
        seen = self._seen
        for end in range(max(self._indexed, _NGRAM), len(tokens)):
            seen[tuple(tokens[end - _NGRAM : end])] = end
        self._indexed = max(self._indexed, len(tokens))


def _context_class(tokens: list[int], follows: int) -> int:
    """Class of the match by how many tokens before `follows` equal the newest ones."""
    length, end = _NGRAM, len(tokens)
    while (
        length < _LONGEST_CONTEXT
        and follows > length
        and tokens[follows - length - 1] == tokens[end - length - 1]
    ):
        length += 1
    return sum(length > bound for bound in _CLASS_BOUNDS)
