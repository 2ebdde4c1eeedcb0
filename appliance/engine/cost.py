"""What a step costs, learned from the steps that ran: seconds = per_pass x passes + per_token x tokens.

Recursive least squares with forgetting, in two unknowns: attention over longer contexts, heat and contention
move both, and the newest steps weigh most. Errors count in proportion to the step, so that steps of one token
teach as much as prefills do. How both unknowns share what a step took is known only from steps of different
sizes; while all are alike, a usual ratio decides. Pure arithmetic on values; the engine feeds it.
"""

from __future__ import annotations

_FORGETTING = 0.97
_FLOOR_S = 1e-6
_OUTLIER = 3.0
_RATIO_WEIGHT = 0.01
"""Of the usual ratio, against 1 of a step just seen."""


class StepCost:
    """Owned by the engine's thread."""

    def __init__(self, *, per_pass_s: float = 0.02, per_token_s: float = 0.02) -> None:
        """The start values are a slow board's (a Pi prefills 20 tokens a second): the first steps err on the
        short side. Their ratio is the usual one.
        """
        self.per_pass_s = per_pass_s
        self.per_token_s = per_token_s
        self._ratio = per_pass_s / per_token_s
        # Weighted sums of the normal equations. The start values weigh nothing beside the first real step.
        self._pp = self._pt = self._tt = self._ps = self._ts = 0.0

    def observe(self, *, passes: int, tokens: int, seconds: float) -> None:
        # A step that was put aside by the kernel says nothing of the next; a lasting change is followed in a
        # few steps.
        seconds = min(seconds, _OUTLIER * self.predict_s(passes=passes, tokens=tokens))
        self._pp *= _FORGETTING
        self._pt *= _FORGETTING
        self._tt *= _FORGETTING
        self._ps *= _FORGETTING
        self._ts *= _FORGETTING
        self._add(passes, tokens, seconds)
        self._solve()

    def predict_s(self, *, passes: int, tokens: int) -> float:
        return self.per_pass_s * passes + self.per_token_s * tokens

    def tokens_within(self, seconds: float, *, passes: int = 1) -> int:
        """How many tokens fit into `seconds` together with `passes`; may be 0."""
        return max(0, int((seconds - self.per_pass_s * passes) / self.per_token_s))

    def _add(self, passes: int, tokens: int, seconds: float) -> None:
        weight = self.predict_s(passes=passes, tokens=tokens) ** -2
        self._pp += weight * passes * passes
        self._pt += weight * passes * tokens
        self._tt += weight * tokens * tokens
        self._ps += weight * passes * seconds
        self._ts += weight * tokens * seconds

    def _solve(self) -> None:
        # The usual ratio is one more equation: per_pass - ratio x per_token = 0, in proportion as well.
        ratio = self._ratio
        weight = _RATIO_WEIGHT * (self.per_pass_s + ratio * self.per_token_s) ** -2
        pp, pt, tt = self._pp + weight, self._pt - weight * ratio, self._tt + weight * ratio * ratio
        determinant = pp * tt - pt * pt
        per_pass = (self._ps * tt - self._ts * pt) / determinant
        per_token = (self._ts * pp - self._ps * pt) / determinant
        if per_pass > 0 and per_token > 0:
            self.per_pass_s, self.per_token_s = max(_FLOOR_S, per_pass), max(_FLOOR_S, per_token)
            return
        # No two positive costs explain what was seen: keep their relation and scale both.
        predicted = self._pp * self.per_pass_s + self._pt * self.per_token_s
        scale = self._ps / predicted if predicted > 0 else 1.0
        self.per_pass_s = max(_FLOOR_S, self.per_pass_s * scale)
        self.per_token_s = max(_FLOOR_S, self.per_token_s * scale)
