"""What every request passes before its handler and after it: id, Host, Origin; warnings and the one log line.

Order of the checks: the Host first (a page that rebinds DNS must learn nothing), then the Origin, then the
key, then, once the route is known, the key's scopes (`key_middleware.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

import falcon

from appliance.api import accounting, anthropic_errors, placement
from appliance.api.caller import Callers
from appliance.api.exchange import Exchange, Observer, exchange_of
from appliance.api.hosts import host_of
from appliance.errors import InvalidRequest, NotAllowed

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CORS_HEADERS: Final = (
    "authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta, "
    "x-outpost-priority, x-outpost-deadline-s, x-outpost-progress, x-outpost-resumable, last-event-id"
)
_CORS_EXPOSED: Final = (
    "x-request-id, request-id, x-outpost-warning, x-outpost-placement, x-outpost-queue-position, "
    "x-outpost-queue-s, x-outpost-stream, "
    "retry-after, retry-after-ms, " + ", ".join(accounting.HEADERS)
)
_MAX_WARNING_CHARS: Final = 1024


class RequestMiddleware:
    """Stateless; any thread. Gives every request its `Exchange`, and ends it unless a stream still runs."""

    def __init__(self, observer: Observer | None, callers: Callers) -> None:
        self._observer = observer
        self._callers = callers

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        exchange = exchange_of(req, observer=self._observer)
        exchange.caller = self._callers.caller_of(req.env)
        exchange.owner = exchange.caller.address

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - falcon's form
    ) -> None:
        exchange = exchange_of(req, observer=self._observer)
        exchange.route = req.uri_template
        exchange.status = resp.status_code
        resp.set_header("X-Request-Id", exchange.request_id)
        if anthropic_errors.is_anthropic(req.path):
            resp.set_header("Request-Id", exchange.request_id)  # where its clients look
        if exchange.warnings:
            resp.set_header("X-Outpost-Warning", "; ".join(exchange.warnings)[:_MAX_WARNING_CHARS])
        if exchange.placement is not None:
            resp.set_header(placement.HEADER, exchange.placement)
        _tell_wait(resp, exchange)
        if resp.stream is None:
            exchange.end()


def _tell_wait(resp: falcon.Response, exchange: Exchange) -> None:
    """Where it stood in the queue when it came (0: it did not wait), and how long it waited."""
    turn = exchange.turn
    if turn.arrived_at is not None or turn.waited_s is not None:
        position = turn.arrived_at.position if turn.arrived_at is not None else 0
        resp.set_header("X-Outpost-Queue-Position", str(position))
    if turn.waited_s is not None:
        resp.set_header("X-Outpost-Queue-S", f"{turn.waited_s:.3f}")


class HostMiddleware:
    """Refuses names that a hostile DNS server may have pointed at us, whatever address we are bound to."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        told = req.env.get("HTTP_HOST")
        if told is None:
            if req.env.get("SERVER_PROTOCOL") == "HTTP/1.1":
                raise InvalidRequest(reason="HTTP/1.1 needs a Host header")
            return
        host = host_of(told)
        if host is None:
            raise InvalidRequest(reason="the Host header is not one host")
        if not self.allows(host):
            raise NotAllowed(
                reason="this Outpost does not answer to that name; use its address, or configure the name"
            )

    def allows(self, host: str) -> bool:
        """Loopback, IP literals, `*.local`, `*.internal` (no public name ends so) and configured names. A
        rebinding page can be none of these.
        """
        if host in {"localhost", *self._names} or host.endswith((".local", ".localhost", ".internal")):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


class OriginMiddleware:
    """Lets pages of listed origins in, and keeps the browser of a user from posting for any other page."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        origin = req.get_header("Origin")
        if origin is None:
            return
        if origin in self._allowed:
            self._admit(req, resp, origin)
        elif req.method not in _SAFE_METHODS and not _is_same(origin, req):
            raise NotAllowed(
                reason="pages of this origin may not use this Outpost; list the origin in its configuration"
            )

    def _admit(self, req: falcon.Request, resp: falcon.Response, origin: str) -> None:
        resp.set_header("Access-Control-Allow-Origin", origin)
        resp.set_header("Access-Control-Expose-Headers", _CORS_EXPOSED)
        resp.append_header("Vary", "Origin")
        if req.method == "OPTIONS":
            resp.set_header("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE, OPTIONS")
            resp.set_header(
                "Access-Control-Allow-Headers",
                req.get_header("Access-Control-Request-Headers") or _CORS_HEADERS,
            )
            resp.set_header("Access-Control-Max-Age", "600")
            resp.status = falcon.HTTP_204
            resp.complete = True


def _is_same(origin: str, req: falcon.Request) -> bool:
    """Never `null`, which pages without an origin send, nor where no Host is told."""
    host = str(req.env.get("HTTP_HOST", "")).lower()
    return bool(host) and origin.partition("://")[2].lower() == host
