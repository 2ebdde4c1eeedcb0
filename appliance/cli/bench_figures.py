"""What the benchmark computes from what it saw. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

_WORDS: Final = (
    *(
        "river",
        "stone",
        "lamp",
        "winter",
        "garden",
        "copper",
        "signal",
        "mountain",
        "paper",
        "engine",
        "harbour",
    ),
    *(
        "window",
        "forest",
        "letter",
        "market",
        "bridge",
        "cloud",
        "island",
        "mirror",
        "silver",
        "kettle",
        "meadow",
    ),
    *("ladder", "carpet", "rocket", "pepper", "candle", "violin", "anchor", "blanket", "desert", "orchard"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One streamed answer. Times in seconds."""

    first_token_s: float
    gaps_s: tuple[float, ...]
    """Between the events that carried tokens."""
    total_s: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run of all clients, or the medians of several."""

    clients: int
    tokens_per_s: float
    """Of all clients together: tokens over the time from the first request to the last token."""
    ttft_p50_s: float
    ttft_p99_s: float
    gap_p50_s: float
    gap_p99_s: float
    tokens: float
    errors: float

    def as_json(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "tokens_per_s": round(self.tokens_per_s, 2),
            "ttft_p50_ms": round(self.ttft_p50_s * 1000, 1),
            "ttft_p99_ms": round(self.ttft_p99_s * 1000, 1),
            "gap_p50_ms": round(self.gap_p50_s * 1000, 2),
            "gap_p99_ms": round(self.gap_p99_s * 1000, 2),
            "tokens": round(self.tokens),
            "errors": round(self.errors),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: the smallest value with at least `share` of all at or below it. 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures_of(streams: Sequence[Stream], *, clients: int, wall_s: float) -> Figures:
    """Of one run. Clients that failed are missing in `streams`."""
    first = [stream.first_token_s for stream in streams]
    gaps = [gap for stream in streams for gap in stream.gaps_s]
    tokens = sum(stream.tokens for stream in streams)
    return Figures(
        clients=clients,
        tokens_per_s=tokens / wall_s if wall_s > 0 else 0.0,
        ttft_p50_s=percentile(first, 0.50),
        ttft_p99_s=percentile(first, 0.99),
        gap_p50_s=percentile(gaps, 0.50),
        gap_p99_s=percentile(gaps, 0.99),
        tokens=tokens,
        errors=clients - len(streams),
    )


def medians(runs: Sequence[Figures]) -> Figures:
    """Each figure's median over the repeats of one client count."""
    return Figures(
        clients=runs[0].clients,
        tokens_per_s=median(run.tokens_per_s for run in runs),
        ttft_p50_s=median(run.ttft_p50_s for run in runs),
        ttft_p99_s=median(run.ttft_p99_s for run in runs),
        gap_p50_s=median(run.gap_p50_s for run in runs),
        gap_p99_s=median(run.gap_p99_s for run in runs),
        tokens=median(run.tokens for run in runs),
        errors=max(run.errors for run in runs),
    )


def prompt_of(seed: str, words: int) -> str:
    """A prompt of its own for every seed, different from the first word on: no cached prefix helps."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    drawn = [chance.choice(_WORDS) for _ in range(max(1, words - 6))]
    return f"{' '.join(drawn)}. Tell a story with these words."
