"""One request as spans: request → queue → prefill → decode, with counts and never with texts. Pure.

    request  ├──────────────────────────────────────────┤
    queue    ├────────┤                                   until a model took it
    prefill           ├──────────┤                        until its first token
    decode                       ├───────────────────────┤

Names of attributes are OpenTelemetry's semantic conventions (http, gen_ai) where there are any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.telemetry.door_metrics import Ended

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
_MOST_CHARS: Final = 256
NS: Final = 1_000_000_000

Value = str | int | float | bool


class Traced(Ended, Protocol):
    """What is read of an exchange that is over."""

    @property
    def request_id(self) -> str: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def is_stream(self) -> bool: ...
    @property
    def finish_reason(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The span of the caller that this request is a part of."""

    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    name: str
    begun_ns: int
    """Unix time."""
    ended_ns: int
    attributes: Mapping[str, Value]
    error: str | None = None
    """The code of the error with which it ended."""


def spans_of(exchange: Traced, ended_ns: int) -> list[Span]:
    """The request's own, then its parts."""
    begun_ns = ended_ns - int(exchange.total_s * NS)
    error = exchange.error_code if exchange.error_code is not None or exchange.status < 500 else "unknown"
    request = Span(
        name=f"{exchange.method if exchange.route else 'HTTP'} {exchange.route or 'unmatched'}",
        begun_ns=begun_ns,
        ended_ns=ended_ns,
        attributes=_of_request(exchange),
        error=error,
    )
    return [request, *_parts(exchange, begun_ns, ended_ns)]


def _parts(exchange: Traced, begun_ns: int, ended_ns: int) -> list[Span]:
    """Those that the request came to."""
    if exchange.queued_s is None:
        return []
    accepted_ns = begun_ns + int(exchange.queued_s * NS)
    parts = [_part("queue", begun_ns, accepted_ns, {"outpost.priority": exchange.turn.priority.value})]
    if exchange.first_token_s is None:
        return parts
    usage, first_ns = exchange.usage, begun_ns + int(exchange.first_token_s * NS)
    prompt, answer = (0, 0) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    cached = 0 if usage is None else usage.cached_tokens
    told = {"gen_ai.usage.input_tokens": prompt, "outpost.usage.cached_tokens": cached}
    parts.append(_part("prefill", accepted_ns, first_ns, told if usage else {}))
    told = {"gen_ai.usage.output_tokens": answer}
    parts.append(_part("decode", first_ns, ended_ns, told if usage else {}))
    return parts


def _part(name: str, begun_ns: int, ended_ns: int, attributes: Mapping[str, Value]) -> Span:
    return Span(name=name, begun_ns=begun_ns, ended_ns=max(begun_ns, ended_ns), attributes=attributes)


def _of_request(exchange: Traced) -> dict[str, Value]:
    told: dict[str, Value | None] = {
        "http.request.method": exchange.method[:_MOST_CHARS],
        "http.route": exchange.route,
        "http.response.status_code": exchange.status,
        "outpost.request_id": exchange.request_id,
        "outpost.stream": exchange.is_stream,
        "error.type": exchange.error_code,
    }
    if exchange.accepted is not None or exchange.usage is not None:  # then the model is one of ours
        told["gen_ai.request.model"] = exchange.model
        told["outpost.finish_reason"] = exchange.finish_reason
    if (usage := exchange.usage) is not None:
        told |= {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "outpost.usage.cached_tokens": usage.cached_tokens,
        }
    return {name: value for name, value in told.items() if value is not None}


def parent_of(traceparent: str | None) -> Parent | None:
    """W3C Trace Context, version 00; None for what is none, which is ignored as the standard asks."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if found is None:
        return None
    parent = Parent(trace_id=int(found[1], 16), span_id=int(found[2], 16))
    return parent if parent.trace_id and parent.span_id else None
