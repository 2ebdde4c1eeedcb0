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

    @property
    def next_look_s(self) -> float:
        """How long to wait before the next question whether it is over or the client gone."""
        left_s = max(0.0, self._deadline_s - time.monotonic())
        return left_s if self._gone is None else min(left_s, _ASK_EVERY_S)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline_s

    def ask_whether_gone(self) -> None:
        """Raises ClientGone."""
        if self._gone is not None and self._gone():
            raise ClientGone

    def wait(self, take: Callable[[float], Answer]) -> Answer | None:
        """Call `take(seconds)` until it gives something; None past the deadline. Raises ClientGone."""
        while True:
            answer = take(self.next_look_s)
            if answer is not None:
                return answer
            self.ask_whether_gone()
            if self.is_over:
                return None
