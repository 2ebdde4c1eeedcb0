"""Whether a candidate is kept: faster, as good as the original, and with room in memory. Pure.

The score of a candidate is the weighted geometric mean of its ratios to the original: a half counts as much
against it as a double counts for it. Weights: 40 % prefill (the wait before the first word), 35 % one
sequence (how one user reads), 25 % several at once (8 and 32 in equal parts). What was not measured
has no weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from appliance.wire.judge import Divergence, Figures, Judged

PREFILL_WEIGHT: Final = 0.40
SINGLE_WEIGHT: Final = 0.35
MANY_WEIGHT: Final = 0.25
"""Shared by all widths above one."""


class Reason(StrEnum):
    """Why a candidate is not kept; the first that holds."""

    KEPT = "kept"
    NOT_BEST = "not_best"
    TOO_LARGE = "too_large"
    LOSSY = "lossy"
    NOT_FASTER = "not_faster"
    SLOWER_SOMEWHERE = "slower_somewhere"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the operator asks for."""

    max_kl: float = 0.01
    """Mean, in nats."""
    min_speedup: float = 1.1
    min_ratio: float = 0.9
    """Of every single figure: faster prompts must not cost a reader a third of his pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Candidate over original; above 1 is faster."""

    prefill: float
    decode: dict[int, float]

    @property
    def score(self) -> float:
        return _geometric_mean(_weighted(self))

    @property
    def least(self) -> float:
        return min(self.prefill, *self.decode.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate, with what is known of it. None: it was not measured."""

    kind: str
    """As people write it: Q8_0."""
    size_bytes: int
    needed_bytes: int
    """Of memory."""
    judged: Judged | None = None
    fault: str | None = None
    """Why it could not be measured."""
    too_large: str | None = None
    """For this board's memory: the numbers; it was not even made."""

    @property
    def ratios(self) -> Ratios | None:
        """None: its speed was not measured."""
        if self.judged is None or self.judged.original is None or self.judged.candidate is None:
            return None
        return ratios(self.judged.original, self.judged.candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one candidate."""

    kind: str
    reason: Reason
    text: str
    """The reason in words, with its numbers."""
    score: float | None


def ratios(original: Figures, candidate: Figures) -> Ratios:
    """Of what both were measured at."""
    widths = original.decode_per_s.keys() & candidate.decode_per_s.keys()
    return Ratios(
        prefill=_over(candidate.prefill_per_s, original.prefill_per_s),
        decode={
            width: _over(candidate.decode_per_s[width], original.decode_per_s[width])
            for width in sorted(widths)
        },
    )


def verdicts(trials: Sequence[Trial], bounds: Bounds) -> tuple[Verdict, ...]:
    """One of each trial, in their order; at most one is KEPT: the best score, of equals the smaller file."""
    judged = [_alone(trial, bounds) for trial in trials]
    passed = [
        (verdict.score or 0.0, -trial.size_bytes, number)
        for number, (trial, verdict) in enumerate(zip(trials, judged, strict=True))
        if verdict.reason is Reason.KEPT
    ]
    if not passed:
        return tuple(judged)
    best = max(passed)[2]
    return tuple(
        verdict if number == best or verdict.reason is not Reason.KEPT else _second(verdict, judged[best])
        for number, verdict in enumerate(judged)
    )


def lacking(needed_bytes: int, both_bytes: int, *, available_bytes: int | None) -> str | None:
    """Why the memory that is there does not do, to serve a candidate or to have it beside the original; None:
    it does, as far as is known.
    """
    if available_bytes is None or both_bytes <= available_bytes:
        return None
    if needed_bytes > available_bytes:
        return f"it needs {needed_bytes} bytes of memory, {available_bytes} are available"
    return (
        f"to compare it with the original takes {both_bytes} bytes of memory, {available_bytes} are available"
    )


def _alone(trial: Trial, bounds: Bounds) -> Verdict:
    if trial.too_large is not None:
        return Verdict(kind=trial.kind, reason=Reason.TOO_LARGE, text=trial.too_large, score=None)
    if trial.fault is not None:
        return Verdict(kind=trial.kind, reason=Reason.FAILED, text=trial.fault, score=None)
    if trial.judged is None:
        return Verdict(kind=trial.kind, reason=Reason.FAILED, text="it was not measured", score=None)
    reason, text = _measured(trial.ratios, trial.judged.divergence, bounds)
    return Verdict(
        kind=trial.kind, reason=reason, text=text, score=trial.ratios.score if trial.ratios else None
    )


def _measured(measured: Ratios | None, divergence: Divergence, bounds: Bounds) -> tuple[Reason, str]:
    # Both written so that NaN fails.
    if not divergence.mean <= bounds.max_kl:
        return Reason.LOSSY, f"KL divergence {divergence.mean:.4f}, at most {bounds.max_kl:g} is allowed"
    if measured is None:
        return Reason.FAILED, "its speed was not measured"
    speed = f"{measured.score:.2f}x"
    if not measured.score >= bounds.min_speedup:
        return (
            Reason.NOT_FASTER,
            f"{speed} the original's speed, at least {bounds.min_speedup:g}x is asked for",
        )
    if measured.least < bounds.min_ratio:
        where = "prefill" if measured.prefill == measured.least else "decode"
        return Reason.SLOWER_SOMEWHERE, f"{where} has {measured.least:.2f}x the original's speed"
    return Reason.KEPT, f"{speed} the original's speed, KL divergence {divergence.mean:.4f}"


def _second(verdict: Verdict, best: Verdict) -> Verdict:
    text = f"{verdict.text}; {best.kind} is better"
    return Verdict(kind=verdict.kind, reason=Reason.NOT_BEST, text=text, score=verdict.score)


def _weighted(measured: Ratios) -> list[tuple[float, float]]:
    many = [ratio for width, ratio in measured.decode.items() if width > 1]
    return [
        (PREFILL_WEIGHT, measured.prefill),
        *((SINGLE_WEIGHT, ratio) for width, ratio in measured.decode.items() if width == 1),
        *((MANY_WEIGHT / len(many), ratio) for ratio in many),
    ]


def _geometric_mean(weighted: Sequence[tuple[float, float]]) -> float:
    total = sum(weight for weight, _ in weighted)
    if any(not ratio > 0 for _, ratio in weighted):
        return 0.0
    return math.exp(sum(weight * math.log(ratio) for weight, ratio in weighted) / total)


def _over(candidate: float, original: float) -> float:
    return candidate / original if original > 0 and candidate > 0 else 0.0
