"""How long grammars may take in one step, and who asks its own next: decisions on values.

A token costs its grammar microseconds, mostly. But where the model's choice is refused the whole vocabulary
is judged, which may take 50 ms (`gbnf_matcher.py`), and many sequences may need that in one step. So:

    1. An answer without a grammar is written in every step; it waits for no grammar.
    2. Those with one share a time (`share_s`). Who has no turn in this step keeps its logits, is not decoded,
       and waits for the next.
    3. Turns are fair in time, not in number, as in weighted fair queueing of packets: whose turn would end
       first, had each its own share of the time, goes first. So a cheap grammar hardly waits for costly ones.
       Each step has a turn at least, and nobody is passed for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

_LEAST_SHARE = 0.1
"""Of a step's bound, however long its decode took."""
_MOST_RESERVED = 0.5
"""Of a step's bound, kept free for grammars."""


@dataclass(slots=True)
class Turn:
    """Of one sequence; on a clock that goes as fast as each has its share of the grammars' time."""

    begins_s: float = 0.0
    """When its last one ended, or when it began to wait."""
    takes_s: float = 0.0
    """As long as the last one took."""
    is_due: bool = False
    """It waits."""


class HasTurns(Protocol):
    arrived: int
    turn: Turn


Waiting = TypeVar("Waiting", bound=HasTurns)


def share_s(*, bound_s: float, decode_s: float, beside_others: bool) -> float:
    """Of grammars, in a step whose decode took `decode_s`. `beside_others`: answers without a grammar are
    there; then the gap between their tokens is at most doubled, as by a long prompt.
    """
    rest_s = bound_s - decode_s
    return max(_LEAST_SHARE * bound_s, min(rest_s, decode_s) if beside_others else rest_s)


class GrammarTurns:
    """Owned by the engine's thread."""

    def __init__(self, *, bound_s: float, clock: Callable[[], float]) -> None:
        self._bound_s = bound_s
        self._clock = clock
        self._present_s = 0.0
        self._spent_s = 0.0
        self.until_s = 0.0
        """When the time of this step's turns is over, by the clock."""

    @property
    def decode_bound_s(self) -> float:
        """What the next step may plan for; the rest is for grammars, as long as they took in the last one."""
        return self._bound_s - min(self._spent_s, _MOST_RESERVED * self._bound_s)

    def take(self, ready: Sequence[Waiting], *, decode_s: float, beside_others: bool) -> Iterator[Waiting]:
        """Yields who has a turn in this step; a turn lasts until the next is asked for."""
        begun_s = now_s = self._clock()
        share = share_s(bound_s=self._bound_s, decode_s=decode_s, beside_others=beside_others)
        self.until_s = begun_s + share
        for one in ready:
            if not one.turn.is_due:
                one.turn.is_due, one.turn.begins_s = True, max(one.turn.begins_s, self._present_s)
        in_order = sorted(ready, key=lambda one: (one.turn.begins_s + one.turn.takes_s, one.arrived))
        for place, one in enumerate(in_order):
            if place and now_s >= self.until_s:
                break
            yield one
            ended_s = self._clock()
            took_s, now_s = ended_s - now_s, ended_s
            one.turn.takes_s, one.turn.is_due = took_s, False
            one.turn.begins_s += took_s
            self._present_s += took_s / len(ready)
        self._spent_s = now_s - begun_s
