"""Whether a key's next request fits into its bounds, and when it would. Pure; `quotas.py` acts.

    bound              counts                                       refuses
    requests_per_min   requests, as they come (GCRA)                at admission
    concurrency        requests at work or waiting                  at admission
    tokens_per_min     prompt and output, as computed (GCRA)        at admission when nothing is left;
    tokens_per_day     the same, in 24 hours from the first token   once the prompt is counted, when it is
                                                                    more than what is left

A running answer is never cut: what it takes above a bound is a debt that delays the key's next request.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

from appliance.access import gcra
from appliance.access.gcra import Arrival, Rate
from appliance.access.grants import Bounds

DAY_NS: Final = 86400 * gcra.SECOND_NS
BUSY_NS: Final = gcra.SECOND_NS
"""What who has too many at work is told to wait: nobody knows when one ends."""


class Bound(StrEnum):
    REQUESTS = "requests_per_min"
    TOKENS = "tokens_per_min"
    DAY = "tokens_per_day"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Day:
    """24 hours from the first token of them. By no calendar: a board may not know the date."""

    began_ns: int | None = None
    used: int = 0


_NOTHING_TAKEN: Final = Arrival()
_NO_DAY: Final = Day()


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one key: what outlives a restart."""

    requests: Arrival = _NOTHING_TAKEN
    tokens: Arrival = _NOTHING_TAKEN
    day: Day = _NO_DAY


@dataclass(frozen=True, slots=True)
class Load:
    """Of one key: what does not."""

    running: int = 0
    held: int = 0
    """Prompt tokens that are accepted and not yet computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    bound: Bound
    limit: int
    used: int
    wait_ns: int | None
    """None: it never fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How it stands with one bound."""

    bound: Bound
    limit: int
    remaining: int
    reset_ns: int
    period_ns: int


def bounds_of(own: Bounds, defaults: Bounds) -> Bounds:
    """What a key has none of its own for, it has from the configuration."""
    told = {
        field.name: getattr(defaults, field.name)
        for field in fields(Bounds)
        if field.name in set(Bound) and getattr(own, field.name) is None
    }
    return replace(own, **told)


def refusal_of_request(bounds: Bounds, counts: Counts, load: Load, now_ns: int) -> Refusal | None:
    """At admission, when nothing is known of the prompt. That bound which holds it up for longest."""
    found = [
        _by_rate(Bound.REQUESTS, bounds.requests_per_min, counts.requests, now_ns, 1),
        *_by_tokens(bounds, counts, load, now_ns, 1),
    ]
    if bounds.concurrency is not None and load.running >= bounds.concurrency:
        found.append(
            Refusal(bound=Bound.CONCURRENCY, limit=bounds.concurrency, used=load.running, wait_ns=BUSY_NS)
        )
    return _longest(found)


def refusal_of_prompt(bounds: Bounds, counts: Counts, load: Load, now_ns: int, tokens: int) -> Refusal | None:
    """Once the prompt is counted."""
    return _longest(_by_tokens(bounds, counts, load, now_ns, tokens))


def with_request(bounds: Bounds, counts: Counts, now_ns: int) -> Counts:
    if bounds.requests_per_min is None:
        return counts
    return replace(counts, requests=gcra.taken(Rate(bounds.requests_per_min), counts.requests, now_ns, 1))


def with_tokens(bounds: Bounds, counts: Counts, now_ns: int, tokens: int) -> Counts:
    if bounds.tokens_per_min is not None:
        rate = Rate(bounds.tokens_per_min)
        counts = replace(counts, tokens=gcra.taken(rate, counts.tokens, now_ns, tokens))
    if bounds.tokens_per_day is not None:
        day = current_day(counts.day, now_ns)
        began_ns = now_ns if day.began_ns is None else day.began_ns
        counts = replace(counts, day=Day(began_ns, day.used + tokens))
    return counts


def allowances(bounds: Bounds, counts: Counts, load: Load, now_ns: int) -> list[Allowance]:
    """For who is asked how it stands: of requests and of tokens; never less than nothing."""
    told = []
    rates = (
        (Bound.REQUESTS, bounds.requests_per_min, counts.requests, 0),
        (Bound.TOKENS, bounds.tokens_per_min, counts.tokens, load.held),
    )
    for bound, limit, arrival, held in rates:
        if limit is not None:
            rate = Rate(limit)
            left = gcra.available(rate, arrival, now_ns) - held
            reset_ns = gcra.reset_ns(rate, arrival, now_ns)
            told.append(_allowance(bound, limit, left, reset_ns, rate.period_ns))
    if bounds.tokens_per_day is not None:
        day = current_day(counts.day, now_ns)
        left = bounds.tokens_per_day - day.used - load.held
        reset_ns = 0 if day.began_ns is None else day.began_ns + DAY_NS - now_ns
        told.append(_allowance(Bound.DAY, bounds.tokens_per_day, left, reset_ns, DAY_NS))
    return told


def current_day(day: Day, now_ns: int) -> Day:
    """A day that is over has used nothing of the next."""
    is_over = day.began_ns is None or now_ns - day.began_ns >= DAY_NS
    return _NO_DAY if is_over else day


def is_blank(counts: Counts, now_ns: int) -> bool:
    """Nothing is owed: as good as a key that never asked."""
    return (
        counts.requests.ns < now_ns
        and counts.tokens.ns < now_ns
        and current_day(counts.day, now_ns) == _NO_DAY
    )


def _by_rate(
    bound: Bound, limit: int | None, arrival: Arrival, now_ns: int, cost: int, held: int = 0
) -> Refusal | None:
    if limit is None:
        return None
    rate = Rate(limit)
    wait_ns = gcra.wait_ns(rate, arrival, now_ns, cost, held=held)
    if wait_ns == 0:
        return None
    used = limit - gcra.available(rate, arrival, now_ns) + held
    return Refusal(bound=bound, limit=limit, used=used, wait_ns=None if cost > limit else wait_ns)


def _by_tokens(bounds: Bounds, counts: Counts, load: Load, now_ns: int, tokens: int) -> list[Refusal | None]:
    found = [_by_rate(Bound.TOKENS, bounds.tokens_per_min, counts.tokens, now_ns, tokens, load.held)]
    limit, day = bounds.tokens_per_day, current_day(counts.day, now_ns)
    if limit is not None and day.used + load.held + tokens > limit:
        began_ns = now_ns if day.began_ns is None else day.began_ns
        wait_ns = None if tokens > limit else began_ns + DAY_NS - now_ns
        found.append(Refusal(bound=Bound.DAY, limit=limit, used=day.used + load.held, wait_ns=wait_ns))
    return found


def _longest(found: list[Refusal | None]) -> Refusal | None:
    """What never fits is longest."""
    there = [refusal for refusal in found if refusal is not None]
    never = (refusal for refusal in there if refusal.wait_ns is None)
    return next(never, max(there, key=lambda refusal: refusal.wait_ns or 0, default=None))


def _allowance(bound: Bound, limit: int, left: int, reset_ns: int, period_ns: int) -> Allowance:
    return Allowance(bound=bound, limit=limit, remaining=max(0, left), reset_ns=reset_ns, period_ns=period_ns)
