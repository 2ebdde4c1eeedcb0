"""API keys: their form, their making, their check and their scopes. Stands in the middleware of flow 1.

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
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.access.grants import Grant
from appliance.access.scopes import DEFAULT, Scope
from appliance.errors import ScopeMissing, Unauthenticated

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What is known of a key, beside its id."""

    sha256: str
    """Of the whole key, in hex."""
    scopes: frozenset[Scope] = DEFAULT


_NOBODY: Final = StoredKey(sha256="0" * 64, scopes=frozenset())
"""Compared with when the id is unknown, so that known and unknown ids take the same time."""


class KeyRing:
    """The keys of this Outpost, by id. Immutable; any thread may ask."""

    def __init__(self, keys: Mapping[str, StoredKey]) -> None:
        self._keys = dict(keys)

    def __bool__(self) -> bool:
        """Whether there is any key at all; without one the door is open to this machine."""
        return bool(self._keys)

    def verify(self, bearer: str | None) -> str:
        """The id of the key `bearer` (the text after `Bearer `). Raises Unauthenticated.

        Constant time: an unknown id and a wrong secret cost the same; only a malformed text, which an
        attacker can tell himself, returns earlier.
        """
        if not bearer:
            raise Unauthenticated(reason="an API key is needed")
        key_id = key_id_of(bearer)
        if key_id is None:
            raise Unauthenticated(reason="this is not a key of an Outpost: its form or checksum is wrong")
        stored = self._keys.get(key_id, _NOBODY)
        if not hmac.compare_digest(stored.sha256, digest_of(bearer)):
            raise Unauthenticated(reason="this key is not known here")
        return key_id

    def grant(self, key_id: str) -> Grant:
        """What a verified key may do; how much, `[quotas]` says for all."""
        return Grant(key_id=key_id, scopes=self._keys.get(key_id, _NOBODY).scopes)

    def has(self, key_id: str, scope: Scope) -> bool:
        """Whether a verified key has it."""
        return scope in self._keys.get(key_id, _NOBODY).scopes

    def require(self, key_id: str, needed: frozenset[Scope]) -> None:
        """Raises ScopeMissing when a verified key has none of the scopes in `needed`."""
        if self._keys.get(key_id, _NOBODY).scopes.isdisjoint(needed):
            raise ScopeMissing(key_id=key_id, needed=sorted(needed))


def generate() -> NewKey:
    """Make a key from 32 random bytes of the kernel."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
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
