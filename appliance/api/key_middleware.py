"""Asks for a key where one is needed, and for the scope that the route needs. What the key may do goes with
the exchange.

1. No key is needed: there is none yet, and only this machine can reach the door.
2. A key is sent: it must be right, also where none is needed (health). Two that differ are none.
3. None is sent: what is public answers; a client of a trusted subnet may infer.

Pages that rebind a DNS name have no key. Names below `.local` can be rebound by whoever is on the network, so
where no key is sent only our own is believed.
"""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Sequence
from typing import Any, Final, Protocol

import falcon

from appliance.access.grants import NOBODY, Grant
from appliance.access.keys import scope_of
from appliance.access.subnets import TrustedSubnets
from appliance.api import registry_errors
from appliance.api.exchange import Exchange, exchange_of
from appliance.api.hosts import host_of
from appliance.api.route_scopes import PUBLIC_PATHS, needed_for
from appliance.errors import NotAllowed, Unauthenticated


class Verifier(Protocol):
    """Who knows the keys (`access.key_store`, `access.keys.KeyRing`). Any thread."""

    def is_needed(self) -> bool:
        """Whether requests need a key."""

    def verify(self, bearer: str | None) -> Grant:
        """Raises Unauthenticated."""


class Guard(Protocol):
    """Who counts wrong keys (`access.attempts`). Any thread."""

    def note(self, address: str) -> None:
        """A wrong key came from there. May raise what its sender is told instead."""


class KeyMiddleware:
    """Stateless; any thread."""

    def __init__(
        self,
        keys: Verifier,
        *,
        subnets: TrustedSubnets,
        guard: Guard | None = None,
        host_names: Sequence[str] = (),
    ) -> None:
        self._keys = keys
        self._subnets = subnets
        self._guard = guard
        self._host_names = frozenset(name.lower().rstrip(".") for name in host_names)
        self._own_local: Final = _own_local_names(socket.gethostname())

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        if not self._keys.is_needed():  # 1
            self._require_certain_name(req)
            return
        try:
            bearer = bearer_of(req)
            grant = self._keys.verify(bearer) if bearer is not None else None  # 2
        except Unauthenticated:
            if self._guard is not None:
                self._guard.note(exchange.caller.address)
            raise
        if grant is not None:
            exchange.grant, exchange.owner, exchange.scope = grant, grant.key_id, scope_of(grant.key_id)
            return
        exchange.grant = self._without_key(req, exchange)  # 3

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Falcon calls it once it knows the route; where there is none, a 404 needs no scope."""
        needed, grant = needed_for(req.uri_template or "", req.method), exchange_of(req).grant
        if needed is None or grant is None:
            return
        if not grant.key_id and grant.scopes.isdisjoint(needed):
            raise Unauthenticated(reason="clients of this subnet may infer without a key; this needs one")
        grant.require(needed)

    def _without_key(self, req: falcon.Request, exchange: Exchange) -> Grant:
        if req.path in PUBLIC_PATHS:
            return NOBODY
        caller = exchange.caller
        grant = self._subnets.grant_for(caller.address) if caller.is_certain else None
        if grant is None:
            self._keys.verify(None)
            raise Unauthenticated(reason="an API key is needed")
        self._require_certain_name(req)
        exchange.scope = scope_of(caller.address)
        return grant

    def _require_certain_name(self, req: falcon.Request) -> None:
        host = host_of(str(req.env.get("HTTP_HOST", ""))) or ""
        if not host.endswith(".local") or host in self._host_names or self._own_local.fullmatch(host):
            return
        raise NotAllowed(
            reason="without a key this Outpost does not answer to that name: others could claim it; use its "
            "address, or list the name in [server] names"
        )


def bearer_of(req: falcon.Request) -> str | None:
    """The key as `Authorization: Bearer` or `X-Api-Key` has it; below `/v2` also as the password of `Basic`,
    which is what registry clients can send. None: no key is sent. Raises Unauthenticated for two that differ.
    """
    told = [key for key in (_authorized(req), req.get_header("X-Api-Key")) if key]
    if len(set(told)) > 1:
        raise Unauthenticated(reason="Authorization and X-Api-Key are two different keys")
    return told[0] if told else None


def _authorized(req: falcon.Request) -> str | None:
    scheme, _, key = (req.get_header("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip() or None
    if scheme.lower() == "basic" and registry_errors.is_registry(req.path):
        return _password(key.strip())
    return None  # a proxy's own


def _password(basic: str) -> str | None:
    try:
        return base64.b64decode(basic, validate=True).decode("utf-8").partition(":")[2] or None
    except ValueError:  # UnicodeDecodeError is one
        return None


def _own_local_names(host_name: str) -> re.Pattern[str]:
    """As mDNS announces us; of two that have one name, the second gets a number."""
    name = re.escape(host_name.lower().partition(".")[0])
    return re.compile(rf"{name}(-\d{{1,4}})?\.local", re.ASCII)
