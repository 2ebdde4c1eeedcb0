"""Prompt look-up: drafts copied from the sequence's own text (n-gram speculation).

A place of the text is taken as source when the newest three tokens stand before it. From then on source and
text run side by side, as two aligned strings: a token that differs (a corrected word, a counted number) does
not end the copying. The source goes on behind it, behind tokens that the text left out, or before tokens that
it put in, with less trust; trust grows with every token that agrees. How often guesses were right is counted
apart by trust, and decides whether and how long the next draft is.
"""

from __future__ import annotations

from appliance.engine.cost import StepCost
from appliance.engine.speculation import MAX_DRAFT, Acceptance, draft_length

_NGRAM = 3
_MOST_TRUST = 24
_TRUST_BOUNDS = (5, 11)
"""Trust of up to 5, up to 11, and more is judged apart; right after a difference, a fourth class."""
_PRIORS = ((1.0, 2.0), (6.0, 2.0), (30.0, 1.0), (1.0, 1.0))
"""(right, wrong) guesses imagined before the first real one, by class."""
_STRAYED = 3
_KEPT_TRUST = 0.8
"""Share that survives one token that differs."""
_LEAST_TRUST = 2.0
_SHIFTS = (1, 2, 3, 4, 5, 6, -1, -2, -3)
"""By how many tokens the text may leave the source: so many are left out, or put in."""


class PromptLookup:
    """Guesses for one sequence. Owned by the engine's thread."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], int] = {}
        self._indexed = 0
        self._classes = [Acceptance(right, wrong) for right, wrong in _PRIORS]
        self._class = 0
        self._source: int | None = None
        """Where the token stands that the next one should repeat."""
        self._followed = 0
        """Tokens of the text up to which `_source` was moved along."""
        self._trust = 0.0
        self._strayed = False

    def acceptance(self) -> float:
        """Of the class of the last proposal."""
        return self._classes[self._class].rate

    def propose(self, tokens: list[int], step_tokens: int, cost: StepCost, longest: int) -> list[int]:
        """Up to `longest` tokens that may follow `tokens`; empty when there is no guess or none that pays."""
        self._index(tokens)
        self._follow(tokens)
        self._search(tokens)
        if self._source is None or longest < 1:
            return []
        self._class = _STRAYED if self._strayed else sum(self._trust > bound for bound in _TRUST_BOUNDS)
        length = draft_length(self.acceptance(), step_tokens, cost, min(longest, MAX_DRAFT))
        return tokens[self._source : self._source + length]

    def judge(self, drafted: int, accepted: int) -> None:
        """Learn from a verified draft, for the class of the last proposal."""
        self._classes[self._class].judge(drafted, accepted)

    def _index(self, tokens: list[int]) -> None:
        """Enter every n-gram that something follows; the newest occurrence wins."""
        seen = self._seen
        for end in range(max(self._indexed, _NGRAM), len(tokens)):
            seen[tuple(tokens[end - _NGRAM : end])] = end
        self._indexed = max(self._indexed, len(tokens))

    def _follow(self, tokens: list[int]) -> None:
        """Move the source along with what the text has got since the last call."""
        begin, self._followed = self._followed, len(tokens)
        if self._source is None or begin == len(tokens):
            return
        self._strayed = False
        source = self._source
        for place in range(begin, len(tokens)):
            if tokens[source] == tokens[place]:
                self._trust = min(_MOST_TRUST, self._trust + 1)
            else:
                self._trust *= _KEPT_TRUST
                self._strayed = True
                source = _realigned(tokens, source, place)
            source += 1
        self._source = source if self._trust >= _LEAST_TRUST else None

    def _search(self, tokens: list[int]) -> None:
        """Take another source when more tokens before it agree than the present one is trusted."""
        follows = self._seen.get(tuple(tokens[-_NGRAM:])) if len(tokens) >= _NGRAM else None
        if follows is None or follows == self._source:
            return
        agree = _context_length(tokens, follows)
        if self._source is None or agree >= self._trust:
            self._source, self._trust, self._strayed = follows, float(agree), False


def _realigned(tokens: list[int], source: int, place: int) -> int:
    """The source token that `tokens[place]` repeats: one near `source`, or `source` when it is a new one."""
    for shift in _SHIFTS:
        if 0 <= source + shift < place and tokens[source + shift] == tokens[place]:
            return source + shift
    return source


def _context_length(tokens: list[int], follows: int) -> int:
    """How many tokens before `follows` equal the newest ones, of which an n-gram is known to."""
    length, end = _NGRAM, len(tokens)
    while (
        length < _MOST_TRUST and follows > length and tokens[follows - length - 1] == tokens[end - length - 1]
    ):
        length += 1
    return length
