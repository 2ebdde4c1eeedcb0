"""The generic cell rate algorithm, counted in whole nanoseconds and exact: nothing drifts, however small the
pieces are in which is taken. Pure.

    limit 60 a minute, all of it at once:

    debt     ▲                    every unit taken adds period/limit to the theoretical arrival time;
    60 units │  ╲    ╲            the time that passes pays it off. What would lift the debt above the
             │   ╲    ╲           limit is refused, with the time after which it fits.
    0        └────╲────╲──► time

So within any time t no more is taken than limit + limit * t / period. What is charged without asking (an
answer that is under way) may lift the debt above the limit; then the next one waits for longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Rate:
    """So many units in a period, and no more than those at once."""

    limit: int
    period_ns: int = MINUTE_NS


@dataclass(frozen=True, slots=True)
class Arrival:
    """The theoretical arrival time: when all that was taken will be paid off, at `ns` + `part` / limit
    nanoseconds. The part is why nothing drifts: period / limit is no whole number.
    """

    ns: int = 0
    part: int = 0


def taken(rate: Rate, arrival: Arrival, now_ns: int, cost: int) -> Arrival:
    """After `cost` units, whether there was room for them or not."""
    begin = max(_scaled(rate, arrival), now_ns * rate.limit)
    return Arrival(*divmod(begin + cost * rate.period_ns, rate.limit))


def wait_ns(rate: Rate, arrival: Arrival, now_ns: int, cost: int, *, held: int = 0) -> int:
    """After which `cost` units fit, if nothing else is taken; 0: now. `held`: units that are promised to
    others. What is more than the limit never fits, and must not be asked.
    """
    over = _debt(rate, arrival, now_ns) + (cost + held - rate.limit) * rate.period_ns
    return -(-over // rate.limit) if over > 0 else 0


def available(rate: Rate, arrival: Arrival, now_ns: int) -> int:
    """Whole units that fit now; below 0 when more was charged than fitted."""
    return (rate.limit * rate.period_ns - _debt(rate, arrival, now_ns)) // rate.period_ns


def reset_ns(rate: Rate, arrival: Arrival, now_ns: int) -> int:
    """Until all of it is there again."""
    return -(-_debt(rate, arrival, now_ns) // rate.limit)


def _scaled(rate: Rate, arrival: Arrival) -> int:
    """In units of 1 / limit nanoseconds. A part of another limit than today's is less than a nanosecond."""
    return arrival.ns * rate.limit + min(arrival.part, rate.limit - 1)


def _debt(rate: Rate, arrival: Arrival, now_ns: int) -> int:
    return max(0, _scaled(rate, arrival) - now_ns * rate.limit)
