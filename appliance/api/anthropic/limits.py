"""How it stands with the bounds of a key, in Anthropic's headers, for `/v1/messages` and all below it. Pure.

anthropic-ratelimit-requests-limit, -remaining, -reset         of the minute
anthropic-ratelimit-tokens-limit, …                            of the bound of which least is left
anthropic-ratelimit-input-tokens-…, -output-tokens-…           the same: here both are taken from one bound

A reset is a time, in RFC 3339, at which all of it is there again; by this machine's clock, as `Date`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from appliance.access.quota_rules import Allowance, Bound

_SECOND_NS: Final = 1_000_000_000
_TOKENS: Final = ("tokens", "input-tokens", "output-tokens")
HEADERS: Final = tuple(
    f"anthropic-ratelimit-{what}-{part}"
    for what in ("requests", *_TOKENS)
    for part in ("limit", "remaining", "reset")
)


def headers_of(allowances: Sequence[Allowance], *, now_s: float) -> Iterable[tuple[str, str]]:
    """Of a key without bounds: none. `now_s`: Unix time."""
    tokens = [one for one in allowances if one.bound in {Bound.TOKENS, Bound.DAY}]
    for one in allowances:
        if one.bound is Bound.REQUESTS:
            yield from _told("requests", one, now_s)
    if tokens:
        tightest = min(tokens, key=lambda one: (one.remaining, -one.reset_ns))
        for what in _TOKENS:
            yield from _told(what, tightest, now_s)


def _told(what: str, one: Allowance, now_s: float) -> Iterable[tuple[str, str]]:
    yield f"anthropic-ratelimit-{what}-limit", str(one.limit)
    yield f"anthropic-ratelimit-{what}-remaining", str(one.remaining)
    yield f"anthropic-ratelimit-{what}-reset", _at(now_s + one.reset_ns / _SECOND_NS)


def _at(unix_s: float) -> str:
    """Rounded up to the second: never too early."""
    return datetime.fromtimestamp(math.ceil(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
