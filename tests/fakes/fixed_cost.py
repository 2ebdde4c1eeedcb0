"""A cost model that learns nothing: what a tiny model costs on a test machine is noise and decides much."""

from __future__ import annotations

from appliance.engine.cost import StepCost


class FixedCost(StepCost):
    """Of a slow board: copying cells and drafting pay."""

    def observe(self, *, passes: int, tokens: int, seconds: float) -> None:
        """Passed over."""


def drafts_pay() -> FixedCost:
    """Passes dear, tokens cheap: guesses go on while some are right."""
    return FixedCost(per_pass_s=0.1, per_token_s=0.0001)
