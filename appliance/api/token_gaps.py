"""The times between the tokens of one answer, as they reach its client."""

from __future__ import annotations

from appliance.histogram import TOKEN_SECONDS, Histogram


class TokenGaps:
    """Owned by the thread that serves the request, so that a token costs no lock; the observer adds them up
    when the request is over.
    """

    __slots__ = ("_last_s", "histogram")

    def __init__(self) -> None:
        self.histogram = Histogram(TOKEN_SECONDS)
        self._last_s: dict[int, float] = {}
        """By choice: several of one request are computed side by side."""

    def mark(self, choice: int, tokens: int, now_s: float) -> None:
        """So many tokens of a choice came now; several at once (a draft) share the gap."""
        last_s = self._last_s.get(choice)
        self._last_s[choice] = now_s
        if last_s is not None and tokens > 0:
            self.histogram.observe((now_s - last_s) / tokens, tokens)
