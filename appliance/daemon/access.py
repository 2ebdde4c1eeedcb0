"""Who may ask: the keys, the claim, and the thread that writes down when keys were used."""

from __future__ import annotations

import sys
import threading
from typing import Final

from appliance.access.audit import Audit
from appliance.access.claims import Claims
from appliance.access.grants import Bounds
from appliance.access.key_store import KeyStore
from appliance.access.keys import KeyState, StoredKey
from appliance.access.scopes import Scope
from appliance.config import Config, KeySettings, is_loopback
from appliance.daemon.audited_keys import AuditedKeys
from appliance.health.access import AccessHealth

_WRITE_EVERY_S: Final = 600.0
_JOIN_S: Final = 5.0


class Access:
    """Made, started and stopped by the main thread; `keys` and `claims` may be used by any."""

    def __init__(self, config: Config) -> None:
        """Raises KeysUnusable: then nothing is served."""
        is_public = not is_loopback(config.server.host) or bool(config.server.proxy_socket)
        self._wants_claim = is_public or config.access.claim
        self._subnets = config.access.trusted_subnets
        self.keys = KeyStore(
            config.data.dir,
            configured=configured_keys(config),
            is_always_needed=self._wants_claim,
        )
        self.claims = Claims(self.keys, config.data.dir)
        self._claim: str | None = None
        self._audit: Audit | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, name="keys", daemon=True)

    def start(self) -> None:
        """Before the door opens. Raises KeysUnusable."""
        if self._wants_claim:
            self._claim = self.claims.offer()
        else:
            self.claims.withdraw()
        self._thread.start()

    def announce(self) -> None:
        """On the console, and nowhere else: the log may travel."""
        claim, self._claim = self._claim, None
        if claim is not None:
            sys.stderr.write(
                f"outpost: nobody may change keys yet. Claim this Outpost with:  outpost keys claim {claim}\n"
                "outpost: it holds once, and until the next start.\n"
            )
            sys.stderr.flush()

    def audited(self, audit: Audit) -> None:
        """Have every change of a key written down. Before the first request."""
        self._audit = audit
        self.keys.log_to(AuditedKeys(audit))

    def health(self) -> AccessHealth:
        """Any thread."""
        return AccessHealth(
            is_key_needed=self.keys.is_needed(),
            keys=sum(one.state is KeyState.ACTIVE for one in self.keys.list()),
            is_claim_pending=self.claims.is_pending,
            trusted_subnets=self._subnets,
            unaudited=self._audit.lost if self._audit is not None else 0,
        )

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self.claims.withdraw()
        self.keys.close()

    def _write(self) -> None:
        while not self._stopping.wait(_WRITE_EVERY_S):
            self.keys.write_used()


def configured_keys(config: Config) -> dict[str, StoredKey]:
    """Those of `[access.keys]`."""
    return {key_id: _stored(key) for key_id, key in config.access.keys.items()}


def _stored(key: KeySettings) -> StoredKey:
    return StoredKey(
        sha256=key.sha256,
        name=key.name,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        models=key.models,
        bounds=Bounds(
            requests_per_min=key.requests_per_min,
            tokens_per_min=key.tokens_per_min,
            tokens_per_day=key.tokens_per_day,
            concurrency=key.concurrency,
            max_context=key.max_context,
            background_only=key.background_only,
        ),
        is_configured=True,
    )
