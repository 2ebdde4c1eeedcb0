"""A key store in a directory, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.access.key_store import KeyStore, MadeKey
from appliance.access.keys import StoredKey
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey

HOUR_S = 3600.0
START_S = 1_000 * HOUR_S


@dataclass
class Clock:
    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def opened(
    directory: Path,
    *,
    clock: Clock | None = None,
    configured: Mapping[str, StoredKey] | None = None,
    is_always_needed: bool = False,
) -> Iterator[KeyStore]:
    store = KeyStore(
        directory, configured=configured or {}, now=clock or Clock(), is_always_needed=is_always_needed
    )
    try:
        yield store
    finally:
        store.close()


def made(store: KeyStore, *scopes: Scope, name: str = "") -> MadeKey:
    """Also as the first one, whatever it may."""
    return store.create(CreateKey(name=name, scopes=frozenset(scopes or {Scope.INFER}), force=True))
