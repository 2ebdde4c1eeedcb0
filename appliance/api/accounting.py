"""Quotas at the door: who asks a model is counted from here on, and told how it stands with his key.

x-ratelimit-limit-requests, -remaining-requests, -reset-requests    by the minute; OpenAI's names and form
x-ratelimit-limit-tokens, -remaining-tokens, -reset-tokens          by the minute, or else by the day
RateLimit-Policy, RateLimit                                         all of them; IETF httpapi's draft 10
anthropic-ratelimit-…                                               for its clients (`anthropic/limits.py`)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import falcon

from appliance.access.attempts import Attempts
from appliance.access.quota_rules import Allowance, Bound
from appliance.access.quotas import Quotas
from appliance.access.scopes import Scope
from appliance.access.usage_report import Line, Question
from appliance.api.anthropic import limits as anthropic_limits
from appliance.api.anthropic_errors import is_anthropic
from appliance.api.exchange import exchange_of
from appliance.api.metering import Ledger, Meter
from appliance.api.route_scopes import needed_for

_SECOND_NS: Final = 1_000_000_000
_NAMES: Final = {Bound.REQUESTS: "requests", Bound.TOKENS: "tokens", Bound.DAY: "tokens"}
"""OpenAI's; of two of one name, the first is told."""
HEADERS: Final = (
    *(
        f"x-ratelimit-{part}-{what}"
        for part in ("limit", "remaining", "reset")
        for what in ("requests", "tokens")
    ),
    "ratelimit",
    "ratelimit-policy",
    *anthropic_limits.HEADERS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What the door needs of the accounts."""

    quotas: Quotas
    ledger: Ledger
    wrong_keys: Attempts
    report: Callable[[Question], Sequence[Line]]


class AccountingMiddleware:
    """Stateless; any thread. Stands behind the keys and the places: whoever is refused there is not
    counted.
    """

    def __init__(self, accounting: Accounting, *, wall_s: Callable[[], float] = time.time) -> None:
        self._wall_s = wall_s
        self._quotas = accounting.quotas
        self._ledger = accounting.ledger

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Raises RateLimited."""
        if not is_counted(req.uri_template or "", req.method):
            return
        exchange = exchange_of(req)
        grant = exchange.grant
        key = "" if grant is None else grant.key_id
        # Made first, so that a refused request is in the accounts, too.
        exchange.meter = Meter(self._ledger, key=key)
        if grant is not None:
            exchange.meter.admission = self._quotas.admit(grant)

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - falcon's form
    ) -> None:
        exchange = exchange_of(req)
        if exchange.meter is None or exchange.grant is None:
            return
        allowances = self._quotas.allowances(exchange.grant)
        told = [*headers_of(allowances)]
        if is_anthropic(req.path):
            told += anthropic_limits.headers_of(allowances, now_s=self._wall_s())
        for name, value in told:
            resp.set_header(name, value)


def is_counted(route: str, method: str) -> bool:
    """Whether it asks a model: what a key for inference may post."""
    needed = needed_for(route, method) if route else None
    return method == "POST" and needed is not None and Scope.INFER in needed


def headers_of(allowances: Sequence[Allowance]) -> Iterable[tuple[str, str]]:
    """Of a key without bounds: none."""
    told: set[str] = set()
    for one in allowances:
        name = _NAMES[one.bound]
        if name not in told:
            told.add(name)
            yield f"x-ratelimit-limit-{name}", str(one.limit)
            yield f"x-ratelimit-remaining-{name}", str(one.remaining)
            yield f"x-ratelimit-reset-{name}", go_duration(one.reset_ns)
    if allowances:
        yield "RateLimit-Policy", ", ".join(_policy(one) for one in allowances)
        yield "RateLimit", ", ".join(_state(one) for one in allowances)


def go_duration(nanoseconds: int) -> str:
    """`12ms`, `1.5s`, `6m0s`, `23h59m59s`: as OpenAI writes it; rounded up."""
    milliseconds = -(-nanoseconds // 1_000_000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, seconds = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


def _policy(one: Allowance) -> str:
    return f'"{_identifier(one)}";q={one.limit};w={one.period_ns // _SECOND_NS}'


def _state(one: Allowance) -> str:
    return f'"{_identifier(one)}";r={one.remaining};t={-(-one.reset_ns // _SECOND_NS)}'


def _identifier(one: Allowance) -> str:
    return one.bound.value.replace("_", "-")
