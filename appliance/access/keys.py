"""API keys: their form, their making and their check. Stands in the middleware of flow 1.

    ek_<id8>_<43 characters: base64url of 32 random bytes>_<crc6: base62 of the CRC-32 of all before it>

The prefix and checksum let secret scanners and typing mistakes be told apart from attacks without a look-up.
Only id and SHA-256 are kept: a 256-bit random key needs no slow hash, and a slow hash on every request would
be a gift to whoever wants to keep the processor busy.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.access.grants import NO_BOUNDS, Bounds, Grant
from appliance.access.scopes import DEFAULT, Scope
from appliance.errors import Unauthenticated

_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_FORM: Final = re.compile(r"(ek_([a-z0-9]{8})_[A-Za-z0-9_-]{43})_([0-9A-Za-z]{6})", re.ASCII)
_SCOPE_DOMAIN: Final = b"outpost prefix scope\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made. `text` is shown once and never stored."""

    key_id: str
    text: str
    sha256: str


class KeyState(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


NO_SHA256: Final = "0" * 64
"""Of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What is known of a key, beside its id. Times are Unix times; None: never, or not known."""

    sha256: str
    """Of the whole key, in hex."""
    previous_sha256: str = NO_SHA256
    """Of the key before the last rotation, which holds until `previous_until_s`."""
    previous_until_s: float = 0.0
    name: str = ""
    note: str = ""
    scopes: frozenset[Scope] = DEFAULT
    models: tuple[str, ...] = ()
    bounds: Bounds = NO_BOUNDS
    created_s: float | None = None
    expires_s: float | None = None
    revoked_s: float | None = None
    last_used_s: float | None = None
    """Coarse (`last_used.py`)."""
    is_configured: bool = False
    """It stands in the configuration, and is changed only there."""

    def state(self, now_s: float) -> KeyState:
        if self.revoked_s is not None:
            return KeyState.REVOKED
        is_over = self.expires_s is not None and now_s >= self.expires_s
        return KeyState.EXPIRED if is_over else KeyState.ACTIVE


_UNKNOWN: Final = StoredKey(sha256=NO_SHA256, scopes=frozenset())
"""Compared with when the id is unknown, so that known and unknown ids take the same time."""
_ENDED: Final = {
    KeyState.REVOKED: "this key has been revoked",
    KeyState.EXPIRED: "this key has expired",
}


class KeyRing:
    """The keys of this Outpost, by id. Immutable; any thread may ask."""

    def __init__(self, keys: Mapping[str, StoredKey], *, now: Callable[[], float] = time.time) -> None:
        self._keys = dict(keys)
        self._grants = {key_id: _grant_of(key_id, key) for key_id, key in keys.items()}
        self._made_s = max((key.created_s or 0.0 for key in keys.values()), default=0.0)
        self._now = now

    def __bool__(self) -> bool:
        """Whether there is any key at all, be it expired or revoked; without one the door may stand open."""
        return bool(self._keys)

    @property
    def keys(self) -> Mapping[str, StoredKey]:
        return MappingProxyType(self._keys)

    def now_s(self) -> float:
        """Never before the newest key was made: a board that has lost its clock revives no expired key."""
        return max(self._now(), self._made_s)

    def is_needed(self) -> bool:
        """Whether requests need a key."""
        return bool(self._keys)

    def verify(self, bearer: str | None) -> Grant:
        """What the key `bearer` (the text after `Bearer `) may do. Raises Unauthenticated.

        Constant time: an unknown id, a wrong secret and an old one cost the same; only a malformed text,
        which an attacker can tell himself, returns earlier. Whether a key has ended is told to who has it.
        """
        if not bearer:
            raise Unauthenticated(reason="an API key is needed")
        key_id = key_id_of(bearer)
        if key_id is None:
            raise Unauthenticated(reason="this is not a key of an Outpost: its form or checksum is wrong")
        stored, told, now_s = self._keys.get(key_id, _UNKNOWN), digest_of(bearer), self.now_s()
        is_present = hmac.compare_digest(stored.sha256, told)
        is_previous = hmac.compare_digest(stored.previous_sha256, told)
        if not (is_present or (is_previous and now_s < stored.previous_until_s)):
            raise Unauthenticated(reason="this key is not known here")
        if (state := stored.state(now_s)) is not KeyState.ACTIVE:
            raise Unauthenticated(reason=_ENDED[state])
        return self._grants[key_id]

    def admins(self) -> frozenset[str]:
        """The ids of those that may change keys now."""
        now_s = self.now_s()
        return frozenset(
            key_id
            for key_id, key in self._keys.items()
            if Scope.KEYS_ADMIN in key.scopes and key.state(now_s) is KeyState.ACTIVE
        )


def _grant_of(key_id: str, key: StoredKey) -> Grant:
    return Grant(key_id=key_id, name=key.name, scopes=key.scopes, models=key.models, bounds=key.bounds)


def generate(key_id: str | None = None) -> NewKey:
    """Make a key from 32 random bytes of the kernel. `key_id`: of the key that it takes the place of."""
    key_id = key_id or "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    body = f"ek_{key_id}_{secret}"
    text = f"{body}_{_checksum(body)}"
    return NewKey(key_id=key_id, text=text, sha256=digest_of(text))


def digest_of(text: str) -> str:
    """What is stored of a key: the SHA-256 of the whole text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def key_id_of(text: str) -> str | None:
    """The id inside a well-formed key, or None if it is malformed. Proves nothing about its owner."""
    match = _FORM.fullmatch(text)
    if match is None or not hmac.compare_digest(_checksum(match[1]), match[3]):
        return None
    return match[2]


def scope_of(key_id: str | None) -> str:
    """The scope in which this caller's prefixes are reused: stable over restarts, and not the id itself.

    None (no keys configured) gives "", the scope that all share.
    """
    if key_id is None:
        return ""
    return hashlib.sha256(_SCOPE_DOMAIN + key_id.encode()).hexdigest()[:16]


def _checksum(body: str) -> str:
    """CRC-32 in six base62 digits, most significant first: 62^6 is just over 2^32."""
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
