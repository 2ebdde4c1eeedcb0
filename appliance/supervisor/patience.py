"""How long a handler thread waits, and for whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from appliance.errors import ClientGone

_ASK_EVERY_S = 0.25

Answer = TypeVar("Answer")


class Patience:
    """A deadline that ends early when the client is gone. Owned by the handler thread."""

    def __init__(self, limit_s: float, gone: Callable[[], bool] | None = None) -> None:
        self._deadline_s = time.monotonic() + limit_s
        self._gone = gone

    def wait(self, take: Callable[[float], Answer]) -> Answer | None:
        """Call `take(seconds)` until it gives something; None past the deadline. Raises ClientGone."""
        while True:
            left_s = max(0.0, self._deadline_s - time.monotonic())
            answer = take(left_s if self._gone is None else min(left_s, _ASK_EVERY_S))
            if answer is not None:
                return answer
            if self._gone is not None and self._gone():
                raise ClientGone
            if left_s <= _ASK_EVERY_S and time.monotonic() >= self._deadline_s:
                return None
