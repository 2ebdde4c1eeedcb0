"""How often one source may try a secret: ten times a minute (GCRA: five at once, one each 12 s)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from appliance.access.sources import source_of
from appliance.errors import TooManyAttempts

_EACH_S: Final = 12.0
_AT_ONCE: Final = 5
_MOST_SOURCES: Final = 4096


class Attempts:
    """Any thread; one lock. Who is not heard of for a minute is forgotten with him who was heard least."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._due_s: OrderedDict[str, float] = OrderedDict()
        """When each source would have waited for all that it tried."""

    def begin(self, address: str) -> None:
        """Count one attempt before it is looked at, so that many at once are no way around. Raises
        TooManyAttempts.
        """
        source, now_s = source_of(address), self._now()
        with self._lock:
            due_s = max(self._due_s.get(source, now_s), now_s) + _EACH_S
            over_s = due_s - now_s - _AT_ONCE * _EACH_S
            if over_s > 0:
                raise TooManyAttempts(retry_after_s=over_s)
            self._due_s[source] = due_s
            self._due_s.move_to_end(source)
            while len(self._due_s) > _MOST_SOURCES:
                self._due_s.popitem(last=False)

    def succeeded(self, address: str) -> None:
        with self._lock:
            self._due_s.pop(source_of(address), None)
