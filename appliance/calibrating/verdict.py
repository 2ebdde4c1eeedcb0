"""Whether a candidate takes the default's place: faster beyond noise, slower in nothing that counts. Pure.

Default and candidates are measured in turn, so each round compares them under the same weather: the ratio of
a round is the weighted geometric mean of its figures' ratios (a half counts as much against a candidate as a
double counts for it). Of the rounds' ratios the median counts, and their spread says what of it is noise.

    1. Fewer than three rounds: the default stays. Hopeless after a single one: it is not measured again.
    2. The median gain is under 5 %: the default stays.
    3. The gain less twice its standard error is none, or a round in four was lost: the default stays.
    4. A single figure is under 90 % of the default's: the default stays.
    5. Of several that pass, the fastest; of equals, the first by name.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Speeds = Mapping[str, float]
"""Tokens per second by test, of one setup in one round."""
Round = Mapping[str, Speeds]
"""By label of the setup."""

MIN_ROUNDS: Final = 3
MIN_GAIN: Final = 1.05
MIN_FIGURE: Final = 0.9
_HOPELESS: Final = 0.6
_LOST_SHARE: Final = 0.25
_ERRORS: Final = 2.0
_MAD_TO_SIGMA: Final = 1.4826
WEIGHTS: Final = {"prefill": 0.40, "decode": 0.35, "decode_many": 0.25}
"""The wait before the first word; how one user reads; several at once. Others count as the least of these."""
_OTHER_WEIGHT: Final = 0.25


class Reason(StrEnum):
    """Why a candidate does not take the default's place; the first that holds."""

    KEPT = "kept"
    NOT_BEST = "not_best"
    HOPELESS = "hopeless"
    TOO_FEW_ROUNDS = "too_few_rounds"
    NOT_FASTER = "not_faster"
    NOISE = "noise"
    SLOWER_SOMEWHERE = "slower_somewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against the default; above 1 is faster."""

    rounds: int
    ratio: float
    """Median over the rounds; 1 without any."""
    low: float
    """The ratio less twice its standard error."""
    lost: int
    """Rounds in which it was slower."""
    figures: Mapping[str, float]
    """Median ratios by test."""

    @property
    def least(self) -> float:
        return min(self.figures.values(), default=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one candidate."""

    label: str
    reason: Reason
    comparison: Comparison

    @property
    def text(self) -> str:
        """In words, with its numbers."""
        found = self.comparison
        match self.reason:
            case Reason.KEPT:
                tail = f" in {found.rounds} rounds"
            case Reason.NOT_BEST:
                tail = "; another is faster"
            case Reason.HOPELESS:
                tail = f": far behind after {found.rounds} of {MIN_ROUNDS} rounds"
            case Reason.NOT_FASTER:
                tail = f", {MIN_GAIN:g}x is the least"
            case Reason.NOISE:
                tail = f", {self._noise()}"
            case Reason.SLOWER_SOMEWHERE:
                tail = f", but {self._slowest()} has {found.least:.2f}x"
            case _:
                return f"too few rounds: {found.rounds}, {MIN_ROUNDS} are the least"
        return f"{found.ratio:.2f}x the default's speed{tail}"

    def _noise(self) -> str:
        found = self.comparison
        if found.low > 1.0:
            return f"but slower in {found.lost} of {found.rounds} rounds"
        return f"within the noise (at least {found.low:.2f}x)"

    def _slowest(self) -> str:
        figures = self.comparison.figures
        return min(sorted(figures), key=lambda name: figures[name])


def verdicts(default: str, rounds: Sequence[Round]) -> tuple[Verdict, ...]:
    """One of each candidate, by label; at most one is KEPT. Neither the order of the rounds nor that of the
    candidates matters.
    """
    labels = sorted({label for one in rounds for label in one} - {default})
    alone = [_alone(label, compared(default, label, rounds)) for label in labels]
    passed = [one for one in alone if one.reason is Reason.KEPT]
    if not passed:
        return tuple(alone)
    best = max(passed, key=lambda one: one.comparison.ratio)
    return tuple(
        Verdict(label=one.label, reason=Reason.NOT_BEST, comparison=one.comparison)
        if one.reason is Reason.KEPT and one is not best
        else one
        for one in alone
    )


def kept(default: str, rounds: Sequence[Round]) -> str:
    """The label that is best served by."""
    found = (one.label for one in verdicts(default, rounds) if one.reason is Reason.KEPT)
    return next(found, default)


def compared(default: str, label: str, rounds: Sequence[Round]) -> Comparison:
    """Over the rounds in which both were measured."""
    pairs = [(one[default], one[label]) for one in rounds if default in one and label in one]
    logs = sorted(found for pair in pairs if (found := _log_ratio(*pair)) is not None)
    middle = statistics.median(logs) if logs else 0.0
    spread = statistics.median(abs(one - middle) for one in logs) if logs else 0.0
    error = _MAD_TO_SIGMA * spread / math.sqrt(max(1, len(logs)))
    return Comparison(
        rounds=len(logs),
        ratio=math.exp(middle),
        low=math.exp(middle - _ERRORS * error),
        lost=sum(one < 0 for one in logs),
        figures=_figures(pairs),
    )


def survivors(default: str, alive: Sequence[str], rounds: Sequence[Round]) -> tuple[str, ...]:
    """Who is measured again (successive halving): the default, and the better half of the others. One round
    may be chance: it leaves out only what is hopeless.
    """
    others = sorted(label for label in set(alive) if label != default)
    ratios = {label: compared(default, label, rounds).ratio for label in others}
    if len(rounds) == 1:
        return (default, *(label for label in alive if ratios.get(label, 0.0) >= _HOPELESS))
    ranked = sorted(others, key=lambda label: -ratios[label])
    best = set(ranked[: max(1, math.ceil(len(ranked) / 2))])
    return (default, *(label for label in alive if label in best))


def _alone(label: str, found: Comparison) -> Verdict:
    return Verdict(label=label, reason=_reason(found), comparison=found)


def _reason(found: Comparison) -> Reason:
    if found.rounds < MIN_ROUNDS:  # 1
        return Reason.HOPELESS if found.rounds and found.ratio < _HOPELESS else Reason.TOO_FEW_ROUNDS
    if not found.ratio >= MIN_GAIN:  # 2
        return Reason.NOT_FASTER
    if not found.low > 1.0 or found.lost > _LOST_SHARE * found.rounds:  # 3
        return Reason.NOISE
    if found.least < MIN_FIGURE:  # 4
        return Reason.SLOWER_SOMEWHERE
    return Reason.KEPT


def _log_ratio(default: Speeds, candidate: Speeds) -> float | None:
    """None: they have no figure in common that is one."""
    found = [
        (WEIGHTS.get(test, _OTHER_WEIGHT), math.log(candidate[test] / default[test]))
        for test in sorted(default.keys() & candidate.keys())
        if _is_speed(default[test]) and _is_speed(candidate[test])
    ]
    total = sum(weight for weight, _ in found)
    return sum(weight * value for weight, value in found) / total if found else None


def _figures(pairs: Sequence[tuple[Speeds, Speeds]]) -> dict[str, float]:
    ratios: dict[str, list[float]] = {}
    for default, candidate in pairs:
        for test in default.keys() & candidate.keys():
            if _is_speed(default[test]) and _is_speed(candidate[test]):
                ratios.setdefault(test, []).append(candidate[test] / default[test])
    return {test: statistics.median(ratios[test]) for test in sorted(ratios)}


def _is_speed(value: float) -> bool:
    return math.isfinite(value) and value > 0
