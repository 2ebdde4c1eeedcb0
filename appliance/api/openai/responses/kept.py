"""Answers that can be asked for again, by their id: in memory only, bounded in count, bytes and age.

Each has the whole conversation up to its end, so none needs another one. When a bound is passed, the oldest
of the owner who holds most goes: who keeps much displaces his own answers, not those of others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from appliance.api.openai.responses.items import Kept
from appliance.errors import ResponseNotFound

_OVERHEAD_BYTES: Final = 1024
"""Of one answer, beside its JSON."""
_ITEM_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseLimits:
    """Over all owners."""

    max_count: int = 1000
    """0: none is kept."""
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResponse:
    """One answer, as JSON: what is kept long is kept small."""

    id_: str
    owner: str
    object_: bytes
    inputs: tuple[bytes, ...]
    """All items it answers, also those of earlier turns."""
    kept_s: float

    @property
    def size_bytes(self) -> int:
        items = sum(_ITEM_BYTES + len(item) for item in self.inputs)
        return _OVERHEAD_BYTES + len(self.object_) + items

    def conversation(self) -> list[Kept]:
        """Up to its end."""
        output: list[Kept] = msgspec.json.decode(self.object_)["output"]
        return self.input_items() + output

    def input_items(self) -> list[Kept]:
        return [msgspec.json.decode(item) for item in self.inputs]


@dataclass(slots=True)
class _Holding:
    """What one owner has, oldest first."""

    ids: dict[str, None] = field(default_factory=dict)
    size_bytes: int = 0


class KeptResponses:
    """Any thread; all state under its lock, which is held for no longer than a few dictionaries take."""

    def __init__(
        self,
        limits: ResponseLimits = ResponseLimits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._all: dict[str, KeptResponse] = {}
        self._holdings: dict[str, _Holding] = {}
        self._size_bytes = 0

    @property
    def is_off(self) -> bool:
        return self._limits.max_count == 0

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._all)

    def put(self, owner: str, told: dict[str, Any], *, inputs: Sequence[Kept]) -> bool:
        """Keep the Response object `told` and the items it answers; whether it could be."""
        made = KeptResponse(
            id_=told["id"],
            owner=owner,
            object_=msgspec.json.encode(told),
            inputs=tuple(msgspec.json.encode(item) for item in inputs),
            kept_s=self._clock(),
        )
        with self._lock:
            self._forget_old()
            self._add(made)
            while self._is_over():
                self._remove(self._next_to_go())
            return made.id_ in self._all

    def get(self, owner: str, id_: str) -> KeptResponse:
        """Raises ResponseNotFound, also for those of other owners."""
        with self._lock:
            self._forget_old()
            found = self._all.get(id_)
            if found is None or found.owner != owner:
                raise ResponseNotFound(response_id=id_)
            return found

    def delete(self, owner: str, id_: str) -> None:
        """Raises ResponseNotFound."""
        with self._lock:
            found = self._all.get(id_)
            if found is None or found.owner != owner:
                raise ResponseNotFound(response_id=id_)
            self._remove(id_)

    def _is_over(self) -> bool:
        return len(self._all) > self._limits.max_count or self._size_bytes > self._limits.max_bytes

    def _next_to_go(self) -> str:
        by_count = len(self._all) > self._limits.max_count
        holdings = self._holdings.values()
        most = max(holdings, key=lambda held: len(held.ids) if by_count else held.size_bytes)
        return next(iter(most.ids))

    def _forget_old(self) -> None:
        """Those that are too old stand first."""
        least_s = self._clock() - self._limits.max_age_s
        while self._all and (oldest := next(iter(self._all.values()))).kept_s < least_s:
            self._remove(oldest.id_)

    def _add(self, made: KeptResponse) -> None:
        self._all[made.id_] = made
        held = self._holdings.setdefault(made.owner, _Holding())
        held.ids[made.id_] = None
        held.size_bytes += made.size_bytes
        self._size_bytes += made.size_bytes

    def _remove(self, id_: str) -> None:
        gone = self._all.pop(id_)
        held = self._holdings[gone.owner]
        del held.ids[id_]
        held.size_bytes -= gone.size_bytes
        self._size_bytes -= gone.size_bytes
        if not held.ids:
            del self._holdings[gone.owner]
