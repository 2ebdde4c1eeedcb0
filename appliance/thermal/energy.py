"""Energy per token, where a sensor measures what the board draws. Never an estimate.

Between two looks the board has used watts x seconds (by the input rail, trapezoids) or what a counter says
(RAPL). Models that computed in that time share it in proportion to their computing; what was used while none
did is nobody's. So a figure contains the board's idle power while the model worked, and nothing of its rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.hardware.power import PowerReading

_MOST_GAP_S = 15.0
"""Nobody knows what was drawn between looks farther apart."""
_LEAST_S = 2.0
"""Sensors average over up to 100 ms, and counters of runners are a second old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a model's runner has done since it started."""

    computing_s: float
    tokens: int
    """Generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEnergy:
    model: str
    joules: float
    tokens: int
    seconds: float
    """With work of this model in them."""

    @property
    def joules_per_token(self) -> float | None:
        """None: too little was measured."""
        if self.tokens == 0 or self.seconds < _LEAST_S:
            return None
        return self.joules / self.tokens


class EnergyMeter:
    """Owned by the thread `thermal`."""

    def __init__(self) -> None:
        self._at_s: float | None = None
        self._power: PowerReading | None = None
        self._work: Mapping[str, Work] = {}
        self._used: dict[str, ModelEnergy] = {}

    @property
    def models(self) -> tuple[ModelEnergy, ...]:
        return tuple(self._used[name] for name in sorted(self._used))

    def update(self, at_s: float, power: PowerReading, work: Mapping[str, Work]) -> None:
        gap_s = None if self._at_s is None else at_s - self._at_s
        before, worked = self._power, {name: _since(self._work.get(name), now) for name, now in work.items()}
        self._at_s, self._power, self._work = at_s, power, dict(work)
        if gap_s is None or before is None or not 0 < gap_s <= _MOST_GAP_S:
            return
        joules = joules_between(before, power, gap_s)
        total_s = sum(done.computing_s for done in worked.values())
        if joules is None or total_s <= 0:
            return
        for name, done in worked.items():
            if done.computing_s > 0:
                self._add(name, joules * done.computing_s / total_s, done.tokens, gap_s)

    def _add(self, model: str, joules: float, tokens: int, seconds: float) -> None:
        old = self._used.get(model) or ModelEnergy(model=model, joules=0.0, tokens=0, seconds=0.0)
        self._used[model] = ModelEnergy(
            model=model,
            joules=old.joules + joules,
            tokens=old.tokens + tokens,
            seconds=old.seconds + seconds,
        )


def _since(before: Work | None, now: Work) -> Work:
    """A runner that was started anew counts from zero."""
    if before is None or now.computing_s < before.computing_s or now.tokens < before.tokens:
        return now
    return Work(computing_s=now.computing_s - before.computing_s, tokens=now.tokens - before.tokens)


def joules_between(before: PowerReading, now: PowerReading, gap_s: float) -> float | None:
    """What the board has used between two looks; None: nobody measures it."""
    if before.input_watts is not None and now.input_watts is not None:
        return (before.input_watts + now.input_watts) / 2 * gap_s
    if before.energy_joules is None or now.energy_joules is None:
        return None
    used = now.energy_joules - before.energy_joules
    if used < 0 and now.energy_range_joules is not None:
        used += now.energy_range_joules
    return used if used >= 0 else None
