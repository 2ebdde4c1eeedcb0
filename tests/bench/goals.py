"""What a measured value has to reach, and one row of the result. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Goal:
    """Bounds ours over the first peer's, or ours alone where `absolute`. Exactly one bound is set."""

    row: str
    """The letter of the workload in the issue's order, and a number where it has several rows."""
    label: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    absolute: bool = False

    @property
    def letter(self) -> str:
        return self.row[0]

    @property
    def order(self) -> tuple[str, int]:
        return self.letter, int(self.row[1:] or 0)

    @property
    def text(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g} {self.unit}" if self.absolute else f"{sign} {bound:g}x"

    def is_reached_by(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One goal with the values of all rounds, in the order they were measured."""

    title: str
    goal: Goal
    ours: list[float]
    peer: list[float]
    """The peer the goal is about; empty where there is none."""
    second_peer: list[float]

    @property
    def ratio(self) -> float | None:
        return median(self.ours) / median(self.peer) if self.peer else None

    @property
    def reached(self) -> bool:
        value = median(self.ours) if self.goal.absolute else self.ratio
        return value is not None and self.goal.is_reached_by(value)
