"""The pace that the supply bears: under-voltage, over-current, and the operator's budget of power.

What a supply bears is not known in advance, and it tells only when it is too much: so the cap is cut by a
share while it complains, rests, and rises slowly. A budget in watts is a set point: the cap follows it by
integration.
"""

from __future__ import annotations

from appliance.thermal.pace import LEAST_DUTY

_CUT_PER_S = 0.15
"""Of the cap, while the supply complains: half in four seconds."""
_REST_S = 30.0
"""Without a complaint before the cap rises."""
_RISE_PER_S = 0.004
"""Back from half to whole in two minutes."""
_BUDGET_GAIN_PER_S = 0.1
"""Of the relative distance to the budget."""


class SupplyCap:
    """Of complaints. Owned by the governor."""

    def __init__(self) -> None:
        self.duty = 1.0
        self._complained_at_s: float | None = None

    def update(self, *, complains: bool, at_s: float, gap_s: float) -> float:
        if complains:
            self._complained_at_s = at_s
            self.duty = max(LEAST_DUTY, self.duty * (1 - min(0.5, _CUT_PER_S * gap_s)))
        elif self._complained_at_s is not None and at_s - self._complained_at_s >= _REST_S:
            self.duty = min(1.0, self.duty + _RISE_PER_S * gap_s)
        return self.duty


class BudgetCap:
    """Of watts. Owned by the governor."""

    def __init__(self, budget_watts: float | None) -> None:
        self.duty = 1.0
        self._budget_watts = budget_watts

    def update(self, watts: float | None, *, gap_s: float) -> float:
        """What cannot be read cannot be kept: the cap stays."""
        if self._budget_watts is None or watts is None:
            return self.duty
        distance = (self._budget_watts - watts) / self._budget_watts
        step = max(-0.1, min(0.03, _BUDGET_GAIN_PER_S * distance)) * gap_s
        self.duty = max(LEAST_DUTY, min(1.0, self.duty + step))
        return self.duty
