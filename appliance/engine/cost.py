"""What a step costs, learned from the steps that ran: seconds = per_pass x passes + per_token x tokens.

Recursive least squares with forgetting, in two unknowns: attention over longer contexts, heat and contention
move both, and the newest steps weigh most. Pure arithmetic on values; the engine feeds it.
"""

from __future__ import annotations

_FORGETTING = 0.97
_FLOOR_S = 1e-6
_OUTLIER = 3.0


class StepCost:
    """Owned by the engine's thread."""

    def __init__(self, *, per_pass_s: float = 0.02, per_token_s: float = 0.02) -> None:
        """The start values are a slow board's (a Pi prefills 20 tokens a second): the first steps err on the
        short side.
        """
        self.per_pass_s = per_pass_s
        self.per_token_s = per_token_s
        # Weighted sums of the normal equations, seeded with two imagined steps: never singular.
        self._pp, self._pt, self._tt = 2.0, 9.0, 65.0
        self._ps = self._pp * per_pass_s + self._pt * per_token_s
        self._ts = self._pt * per_pass_s + self._tt * per_token_s

    def observe(self, *, passes: int, tokens: int, seconds: float) -> None:
        # A step that was put aside by the kernel says nothing of the next; a lasting change is followed in a
        # few steps.
        seconds = min(seconds, _OUTLIER * self.predict_s(passes=passes, tokens=tokens))
        keep = _FORGETTING
        self._pp = keep * self._pp + passes * passes
        self._pt = keep * self._pt + passes * tokens
        self._tt = keep * self._tt + tokens * tokens
        self._ps = keep * self._ps + passes * seconds
        self._ts = keep * self._ts + tokens * seconds
        self._solve()

    def predict_s(self, *, passes: int, tokens: int) -> float:
        return self.per_pass_s * passes + self.per_token_s * tokens

    def tokens_within(self, seconds: float, *, passes: int = 1) -> int:
        """How many tokens fit into `seconds` together with `passes`; may be 0."""
        return max(0, int((seconds - self.per_pass_s * passes) / self.per_token_s))

    def _solve(self) -> None:
        determinant = self._pp * self._tt - self._pt * self._pt
        if determinant > 1e-6 * self._pp * self._tt:
            per_pass = (self._ps * self._tt - self._ts * self._pt) / determinant
            per_token = (self._ts * self._pp - self._ps * self._pt) / determinant
            if per_pass > 0 and per_token > 0:
                self.per_pass_s, self.per_token_s = per_pass, per_token
                return
        # All recent steps alike: the split is not known, so keep it and scale both to what was seen.
        predicted = self._pp * self.per_pass_s + self._pt * self.per_token_s
        scale = self._ps / predicted if predicted > 0 else 1.0
        self.per_pass_s = max(_FLOOR_S, self.per_pass_s * scale)
        self.per_token_s = max(_FLOOR_S, self.per_token_s * scale)
