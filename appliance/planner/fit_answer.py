"""The answer to whether a model would fit: as values, and as the object that the API and the command line
tell. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from appliance.errors import InsufficientMemory
from appliance.planner.budget import Budget
from appliance.planner.choice import Chosen, Wait
from appliance.planner.facts import Ladder, Rung


class FitVerdict(StrEnum):
    FITS = "fits"
    EVICTS = "evicts"
    """Once idle models have gone."""
    WAITS = "waits"
    """Once busy ones have ended."""
    REFUSED = "refused"


class InMemory(Struct, frozen=True, kw_only=True):
    """The model asked about, where it has a process already."""

    state: str
    rung: Rung | None
    """None: it waits for its placement."""


class FitAnswer(Struct, frozen=True, kw_only=True):
    model: str
    ladder: Ladder
    outcome: Chosen | Wait | InsufficientMemory
    budget: Budget | None
    """None: the kernel does not tell, and everything is let in."""
    board: str | None = None
    """None: this machine."""
    owed_bytes: int = 0
    """What those in memory were promised and have not touched yet: it looks free and is not."""
    freed_bytes: int = 0
    """What its own process holds, and those that are ending: it looks taken and is not."""
    in_memory: InMemory | None = None
    origin: str
    """Where its sizes are from, for people."""
    is_guess: bool = False
    read_bytes: int = 0
    """Weights that one token reads; 0: unknown."""
    bandwidth_bytes_per_s: int | None = None
    tokens_per_s: float | None = None
    """What the memory's bandwidth allows at most; None: unknown."""
    notes: tuple[str, ...] = ()

    @property
    def rung(self) -> Rung | None:
        return None if isinstance(self.outcome, InsufficientMemory) else self.outcome.rung

    @property
    def refusal(self) -> InsufficientMemory | None:
        return self.outcome if isinstance(self.outcome, InsufficientMemory) else None

    @property
    def least(self) -> Rung:
        """The smallest that the caller takes, to tell what is missing."""
        return min(self.ladder.rungs, key=lambda one: one.footprint.total_bytes)

    @property
    def shown(self) -> Rung:
        """The one whose size is told: of a refusal the least."""
        return self.rung or self.least

    @property
    def verdict(self) -> FitVerdict:
        match self.outcome:
            case InsufficientMemory():
                return FitVerdict.REFUSED
            case Wait():
                return FitVerdict.WAITS
            case Chosen():
                return FitVerdict.EVICTS if self.outcome.evict else FitVerdict.FITS


def fit_object(answer: FitAnswer, error: dict[str, Any] | None, *, took_s: float) -> dict[str, Any]:
    """`error`: what a refusal says, in the form of whoever tells it; the numbers are added here."""
    outcome = answer.outcome
    told = {
        "model": answer.model,
        "board": answer.board,
        "fits": answer.rung is not None,
        "verdict": answer.verdict,
        "evicts": list(outcome.evict) if isinstance(outcome, Chosen) else [],
        "waits_for": list(outcome.busy) if isinstance(outcome, Wait) else [],
        "in_memory": None if answer.in_memory is None else _in_memory(answer.in_memory),
        "origin": answer.origin,
        "is_guess": answer.is_guess,
        "min_ctx": answer.ladder.min_ctx,
        "budget": None if answer.budget is None else _budget(answer.budget, answer),
        "plan": None if answer.rung is None else rung_object(answer.rung),
        "least": rung_object(answer.least),
        "read_bytes": answer.read_bytes or None,
        "bandwidth_bytes_per_s": answer.bandwidth_bytes_per_s,
        "tokens_per_s_bound": answer.tokens_per_s,
        "notes": list(answer.notes),
        "took_s": round(took_s, 4),
    }
    refusal = answer.refusal
    return told if refusal is None else told | {"error": (error or {}) | refusal.fields}


def rung_object(rung: Rung) -> dict[str, Any]:
    return {
        "placement": asdict(rung.placement),
        "footprint": asdict(rung.footprint) | {"total_bytes": rung.footprint.total_bytes},
        "conceded": [asdict(one) for one in rung.conceded],
        "worth": round(rung.worth, 4),
        "variant": rung.variant,
    }


def _in_memory(there: InMemory) -> dict[str, Any]:
    return {"state": there.state, "plan": None if there.rung is None else rung_object(there.rung)}


def _budget(budget: Budget, answer: FitAnswer) -> dict[str, Any]:
    free_bytes = max(0, budget.available_bytes + answer.freed_bytes - budget.reserve_bytes)
    return asdict(budget) | {
        "owed_bytes": answer.owed_bytes,
        "freed_bytes": answer.freed_bytes,
        "usable_bytes": max(0, free_bytes - answer.owed_bytes),
    }
