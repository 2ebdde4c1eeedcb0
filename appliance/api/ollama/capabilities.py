"""What stored models can do, asked only where a request wants more than a plain answer."""

from __future__ import annotations

import threading
from typing import Final

from appliance.errors import OutpostError
from appliance.store.digest import Digest
from appliance.store.verbs import StoreVerbs

_MOST: Final = 256


class Capabilities:
    """Any thread. Remembers what it was told under a digest: to show a model reads its header."""

    def __init__(self, store: StoreVerbs | None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[Digest, tuple[str, ...]] = {}

    def of(self, name: str) -> tuple[str, ...] | None:
        """None: it is not known (a model of the configuration has no entry in the store)."""
        if self._store is None:
            return None
        row = next((row for row in self._store.list(name) if row.name.casefold() == name.casefold()), None)
        if row is None:
            return None
        with self._lock:
            known = self._known.get(row.digest)
        if known is None:
            try:
                known = self._store.show(row.name).capabilities
            except OutpostError:  # whoever asks it will hear why
                return None
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[row.digest] = known
        return known
