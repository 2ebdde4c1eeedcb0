"""One axis: the default and its candidates, measured in turn, round after round, the better half each time.

A generator: it yields what is to be measured and is sent what came of it. A round that time cut off does not
count; a setup that cannot be is left out, and says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.calibrating.values import Axis, AxisFound, Order, Row, Setup, Told
from appliance.calibrating.verdict import (
    MIN_ROUNDS,
    Reason,
    Speeds,
    Verdict,
    compared,
    survivors,
    verdicts,
)
from appliance.wire.calibrate import Piece

MOST_ROUNDS: Final = 7
_SETTING_UP: Final = 1.3
"""Contexts, of the time of the pieces."""


@dataclass(slots=True)
class _Samples:
    """Of one setup, over the rounds that count."""

    speeds: list[Speeds] = field(default_factory=list)
    joules: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    """Those that the joules are for."""
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What is compared, and by what."""

    axis: Axis
    default: str
    setups: Mapping[str, Setup]
    """By label, the default's among them."""
    pieces: Mapping[str, Piece]
    """By test."""
    until_s: float
    """Of `Told.spent_s`; for the rounds past the least."""
    most_s: float
    """For these, too."""
    rounds: int = MOST_ROUNDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    found: AxisFound
    rounds: tuple[Mapping[str, Speeds], ...]


class _Spent:
    """How long a round takes, by the last one."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.each_s = 0.0
        """One setup's part of a round."""
        self.work_s = 0.0
        """Of the pieces alone."""


def contest(asked: Contest, *, spent_s: float) -> Generator[Order, Told, Measured]:
    samples = {label: _Samples() for label in asked.setups}
    rounds: list[Mapping[str, Speeds]] = []
    alive: tuple[str, ...] = tuple(asked.setups)
    spent = _Spent()
    spent.now_s = spent_s
    while len(rounds) < asked.rounds and len(alive) > 1:
        until_s = asked.until_s if len(rounds) >= MIN_ROUNDS else asked.most_s
        if rounds and spent.now_s + spent.each_s * len(alive) > until_s:
            break
        began_s, spent.work_s = spent.now_s, 0.0
        order = alive if len(rounds) % 2 == 0 else alive[::-1]
        taken = yield from _round(asked, order, samples, spent)
        alive = tuple(label for label in alive if samples[label].fault is None)
        if asked.default not in alive or len(taken) < len(alive):
            break
        rounds.append(taken)
        # The first round has loaded what the others find there, where memory holds it.
        whole_s = spent.now_s - began_s if len(rounds) > 1 else _SETTING_UP * spent.work_s
        spent.each_s = whole_s / max(1, len(order))
        if len(alive) > 1:
            alive = survivors(asked.default, alive, rounds)
    is_decided = len(alive) < 2
    return Measured(found=_found(asked, samples, rounds, is_decided=is_decided), rounds=tuple(rounds))


def _round(
    asked: Contest, order: Sequence[str], samples: Mapping[str, _Samples], spent: _Spent
) -> Generator[Order, Told, dict[str, Speeds]]:
    """What was measured of those that can be; of fewer than all where time was over."""
    found: dict[str, Speeds] = {}
    for label in order:
        speeds: dict[str, float] = {}
        for test, piece in asked.pieces.items():
            if spent.now_s > asked.most_s:
                return found
            setup = asked.setups[label]
            told = yield Order(axis=asked.axis, label=label, test=test, setup=setup, piece=piece)
            spent.now_s = told.spent_s
            spent.work_s += told.taken.elapsed_s if told.taken is not None else 0.0
            per_s = told.per_s
            if per_s is None:
                samples[label].fault = told.fault or "nothing was measured"
                break
            speeds[test] = per_s
            _add_energy(samples[label], test, told)
        if samples[label].fault is None:
            found[label] = speeds
            samples[label].speeds.append(speeds)
    return found


def _add_energy(samples: _Samples, test: str, told: Told) -> None:
    if told.joules is not None and told.taken is not None and told.taken.tokens:
        samples.joules[test] = samples.joules.get(test, 0.0) + told.joules
        samples.tokens[test] = samples.tokens.get(test, 0) + told.taken.tokens


def _found(
    asked: Contest,
    samples: Mapping[str, _Samples],
    rounds: Sequence[Mapping[str, Speeds]],
    *,
    is_decided: bool,
) -> AxisFound:
    judged = {one.label: one for one in verdicts(asked.default, rounds)}
    winner = next((label for label, one in judged.items() if one.reason is Reason.KEPT), asked.default)
    rows = tuple(
        Row(
            label=label,
            per_s=_medians(samples[label].speeds),
            spread=_spread(samples[label].speeds),
            ratio=compared(asked.default, label, rounds).ratio if label in judged else None,
            rounds=len(samples[label].speeds),
            joules_per_token={
                test: joules / samples[label].tokens[test] for test, joules in samples[label].joules.items()
            },
            text=samples[label].fault or _text(asked, label, judged.get(label), len(rounds)),
        )
        for label in asked.setups
    )
    is_short = len(rounds) < MIN_ROUNDS and not is_decided
    text = f"the time was over with {len(rounds)} of {MIN_ROUNDS} rounds" if is_short else ""
    return AxisFound(axis=asked.axis, default=asked.default, kept=winner, rows=rows, text=text)


def _text(asked: Contest, label: str, judged: Verdict | None, rounds: int) -> str:
    if label == asked.default:
        return "the default"
    if judged is None:
        return "not measured"
    if judged.reason is Reason.TOO_FEW_ROUNDS and rounds >= MIN_ROUNDS:
        return f"{judged.comparison.ratio:.2f}x the default's speed; others were faster"
    return judged.text


def _medians(speeds: Sequence[Speeds]) -> dict[str, float]:
    tests = sorted({test for one in speeds for test in one})
    return {test: statistics.median(one[test] for one in speeds if test in one) for test in tests}


def _spread(speeds: Sequence[Speeds]) -> float | None:
    """The worst test's."""
    if len(speeds) < 2:
        return None
    found = []
    for test, middle in _medians(speeds).items():
        deviations = [abs(one[test] - middle) / middle for one in speeds if test in one]
        found.append(statistics.median(deviations))
    return round(max(found), 4) if found else None
