"""What the headers of a request wish of the queue.

X-Outpost-Priority    realtime (without it), background
X-Outpost-Deadline-S  seconds from now after which nobody wants the answer
X-Outpost-Progress    1: begin the stream at once and say in comments how it stands (`awaited.py`)
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import falcon

from appliance.api.exchange import Exchange
from appliance.errors import InvalidRequest
from appliance.supervisor.turn import Priority, Turn

PRIORITY: Final = "X-Outpost-Priority"
DEADLINE: Final = "X-Outpost-Deadline-S"
PROGRESS: Final = "X-Outpost-Progress"
LEAST_DEADLINE_S: Final = 0.05
_MAX_CHARS: Final = 32
_UNKNOWN_TIERS: Final = frozenset({"scale", "priority", "fast"})
_SWITCH: Final = {None: False, "0": False, "1": True}


def note(req: falcon.Request, exchange: Exchange, *, most_s: float, tier: str | None = None) -> None:
    """Note the wishes in `exchange`. `most_s`: the longest deadline. `tier`: OpenAI's `service_tier`, whose
    "flex" means background where no header says otherwise. Raises InvalidRequest.
    """
    priority = _priority(req, tier)
    if exchange.grant is not None and exchange.grant.bounds.background_only:
        if req.get_header(PRIORITY) == Priority.REALTIME:
            exchange.warn(f"'{PRIORITY}' is ignored: with this key all requests are background")
        priority = Priority.BACKGROUND
    exchange.turn = Turn(
        priority=priority,
        deadline_s=_deadline_s(req, most_s),
        request_id=exchange.request_id,
    )
    if tier in _UNKNOWN_TIERS:
        exchange.warn("'service_tier' is ignored: there is no tier above the default one")
    told = req.get_header(PROGRESS)
    if told not in _SWITCH:
        raise InvalidRequest(reason="must be 1 or 0", param=PROGRESS)
    exchange.wants_progress = _SWITCH[told]


def _priority(req: falcon.Request, tier: str | None) -> Priority:
    told = req.get_header(PRIORITY)
    if told is None:
        return Priority.BACKGROUND if tier == "flex" else Priority.REALTIME
    try:
        return Priority(told)
    except ValueError as error:
        known = " or ".join(priority.value for priority in Priority)
        raise InvalidRequest(reason=f"must be {known}", param=PRIORITY) from error


def _deadline_s(req: falcon.Request, most_s: float) -> float | None:
    told = req.get_header(DEADLINE)
    if told is None:
        return None
    value = math.nan
    if len(told) <= _MAX_CHARS and told.isascii() and "_" not in told:
        with suppress(ValueError):  # it is then as wrong as what is out of bounds
            value = float(told)
    if not LEAST_DEADLINE_S <= value <= most_s:
        reason = f"must be a number of seconds from {LEAST_DEADLINE_S:g} to {most_s:g}"
        raise InvalidRequest(reason=reason, param=DEADLINE)
    return value
