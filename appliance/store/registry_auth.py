"""How a registry is shown who asks: Basic, or a bearer token that its realm gives for the configured secret.

    registry ── 401, WWW-Authenticate: Bearer realm="R",service="S" → us
    us ── GET R?service=S&scope=repository:NAME:pull (secret of R's host) → realm ── token → us

Registries of Ollama's own kind ask in the same words for something else: a request signed with an ed25519
key (`Authorization: PUBLIC KEY:SIGNATURE`, `ts` and `nonce` in the query). We have no such key. Their realm
refuses us, as any does that does not know us, and the refusal names both (`_unknown_here`).

The realm must lie on the registry's host or where its settings let it send us. The scope is ours, not what
the answer asks for: a registry cannot make us fetch a token for more than the work at hand.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from appliance.errors import RemoteRefused
from appliance.store.http import Answer, Door
from appliance.store.outbound import Origin

MAX_TOKEN_BYTES: Final = 64 * 1024
_NOBODY: Final = (400, 401, 403)
_MAX_HEADER_CHARS: Final = 4096
_MAX_KEPT: Final = 256
_TOKEN: Final = re.compile(r"[!-~]{1,65536}")
_SCHEME: Final = re.compile(r"\s*,?\s*(Bearer|Basic)(?=\s|$)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'\s*,?\s*([A-Za-z_-]{1,40})=(?:"([^"\\]*)"|([^\s",]+))')


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    scheme: str
    """bearer | basic"""
    parameters: Mapping[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The first one we can meet. None: there is none, or the header is beyond reason."""
    if len(header) > _MAX_HEADER_CHARS:
        return None
    match = _SCHEME.match(header)
    if match is None:
        return None
    at = match.end()
    parameters: dict[str, str] = {}
    while parameter := _PARAMETER.match(header, at):
        name = parameter[1].lower()
        parameters.setdefault(name, parameter[2] if parameter[2] is not None else parameter[3])
        at = parameter.end()
    return Challenge(scheme=match[1].lower(), parameters=parameters)


class _TokenAnswer(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class Tokens:
    """Secrets in use, by host and scope. Any thread; a lock guards the table."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock = threading.Lock()
        self._kept: dict[tuple[Origin, str], str] = {}

    def secret(self, origin: Origin, scope: str) -> str | None:
        """The header for a request: the token in use, or a bearer token of the configuration. A password is
        shown only to who asks for it (`obtain`).
        """
        with self._lock:
            kept = self._kept.get((origin, scope))
        if kept:
            return kept
        configured = self._door.outbound.authorization(origin)
        return configured if configured and configured.startswith("Bearer ") else None

    def obtain(self, answer: Answer, scope: str) -> None:
        """Meet the challenge of a 401, so that `secret` is the next try's. Raises RemoteRefused when it
        cannot be met, OutboundRefused when the realm lies where we may not go.
        """
        challenge = parse_challenge(answer.headers.get("WWW-Authenticate", ""))
        configured = self._door.outbound.authorization(answer.origin)
        if challenge is not None and challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            secret = f"Bearer {self._token(answer, challenge.parameters, scope)}"
        elif challenge is not None and challenge.scheme == "basic" and configured:
            secret = configured
        else:
            raise answer.refused()
        with self._lock:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[answer.origin, scope] = secret

    def _token(self, refused: Answer, parameters: Mapping[str, str], scope: str) -> str:
        realm = parameters["realm"]
        origin = self._door.outbound.check_redirect(refused.origin, realm)
        query = [("scope", part) for part in scope.split(" ")]
        if service := parameters.get("service"):
            query.insert(0, ("service", service))
        joint = "&" if urlsplit(realm).query else "?"
        url = realm.partition("#")[0] + joint + urlencode(query)
        secret = self._door.outbound.authorization(origin)
        with self._door.ask("GET", url, headers={}, secret=secret, first=refused.origin) as answer:
            if answer.status in _NOBODY:
                raise _unknown_here(refused, realm=str(origin), status=answer.status, has_secret=bool(secret))
            if answer.status != 200:
                raise answer.refused()
            content = answer.small(MAX_TOKEN_BYTES)
        try:
            told = msgspec.json.decode(content, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteRefused(host=str(origin), status=200, reason="no token in the answer") from error
        token = told.token or told.access_token
        if not _TOKEN.fullmatch(token):
            raise RemoteRefused(host=str(origin), status=200, reason="no token in the answer")
        return token


def _unknown_here(refused: Answer, *, realm: str, status: int, has_secret: bool) -> RemoteRefused:
    """A realm that gives no token: for want of a secret, or of a signature."""
    secret = (
        f"the token that [store.hosts] has for {realm} is not good there"
        if has_secret
        else f"[store.hosts] has no token for {realm}"
    )
    return RemoteRefused(
        host=str(refused.origin),
        status=status,
        reason=f"{realm} gave no access: {secret}; if this is a registry in Ollama's style, it wants the "
        "request signed with an ed25519 key, which Outpost does not do: have the model made public there, or "
        "bring it as a file (outpost import)",
    )
