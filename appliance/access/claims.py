"""The claim of the administrator: a one-time secret, shown on the console, with which the first key with
keys:admin is made over the network.

    start, and no key has keys:admin   a claim is made: on the console, and in the file `claim`
    taken, or such a key is made       it is gone, with its file
    the next start                     another one, or none

25 characters of Crockford's Base32: 125 random bits, read aloud and typed without look-alikes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance import log
from appliance.access.attempts import CLAIM, Attempts
from appliance.access.key_changes import KeyChange
from appliance.access.key_store import KeyStore, MadeKey
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey, TakeClaim
from appliance.errors import ClaimRefused, KeysUnusable

_log = log.logger("access")

FILE: Final = "claim"
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOK_ALIKES: Final = str.maketrans("OIL", "011", "- \t\r\n")
_GROUPS: Final = 5


class Claims:
    """Any thread; one lock, which is held while the key is made: exactly one of many wins."""

    def __init__(self, keys: KeyStore, directory: Path, *, attempts: Attempts | None = None) -> None:
        self._keys = keys
        self._path = directory / FILE
        self._attempts = attempts or Attempts(CLAIM)
        self._lock = threading.RLock()
        self._digest: bytes | None = None
        keys.listen(self._on_change)

    @property
    def is_pending(self) -> bool:
        return self._digest is not None

    def offer(self) -> str | None:
        """Make one, unless somebody may change keys. Raises KeysUnusable where its file cannot be written."""
        with self._lock:
            self.withdraw()
            if self._keys.ring.admins():
                return None
            text = _generated()
            try:
                _write(self._path, text)
            except OSError as error:
                raise KeysUnusable(
                    path=str(self._path),
                    reason=error.strerror or str(error),
                    remedy="the claim of the administrator is written there; let the daemon write it",
                ) from error
            self._digest = _digest_of(text)
            return text

    def take(self, wish: TakeClaim, *, source: str) -> MadeKey:
        """`source`: the address that asks. Raises ClaimRefused, TooManyAttempts, AuditUnwritable,
        KeysUnusable.
        """
        self._attempts.note(source)
        with self._lock:
            told = _digest_of(wish.claim)
            if self._digest is None or not hmac.compare_digest(self._digest, told):
                _log.warning("claim_refused", source=source)
                raise ClaimRefused
            made = self._keys.create(CreateKey(name=wish.name, scopes=frozenset(Scope)), by=source)
            self.withdraw()
        self._attempts.forgive(source)
        return made

    def withdraw(self) -> None:
        """From now on there is none."""
        with self._lock:
            self._digest = None
            with suppress(FileNotFoundError):
                self._path.unlink()

    def _on_change(self, _change: KeyChange) -> None:
        if self.is_pending and self._keys.ring.admins():
            self.withdraw()


def read_claim(directory: Path) -> str | None:
    """The claim of the daemon that runs in `directory`, for who may read its files; None: there is none.
    Raises OSError.
    """
    with suppress(FileNotFoundError):
        return (directory / FILE).read_text(encoding="ascii").strip()
    return None


def _generated() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(_GROUPS))


def _digest_of(text: str) -> bytes:
    """Of what was meant: in either case, with or without dashes."""
    return hashlib.sha256(text.upper().translate(_LOOK_ALIKES).encode("utf-8", "replace")).digest()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
