"""Slows down who guesses secrets: keys, or the claim of the administrator. One table for each kind of secret,
so that a client with a wrong key bars nobody from the claim.

A source is an IPv4 address, or the /64 that an IPv6 host may take its addresses from (`sources.py`). The
attempt number `FREE` of a source and each one after it open a time in which its further attempts are answered
by 429 at once: 2 s, and twice as long after every attempt that was heard since, to a minute. So in no minute
more than ten are heard. A source is forgotten when it has been silent for `FORGET_S`. Nobody sleeps, and who
guesses learns nothing from the refusal. At 256 bits, and at the 125 of a claim, the delay is no protection of
the secret; it keeps the log short, and shows.

    keys    counted when they turned out wrong: every key is compared (2 µs), so a good one always passes
    claims  counted before they are looked at, forgiven when right: many at once are no way around
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.access.sources import source_of
from appliance.errors import TooManyAttempts

FREE: Final = 5
MOST_WAIT_S: Final = 60.0
FORGET_S: Final = 900.0
MOST_SOURCES: Final = 4096
KEY: Final = "key"
CLAIM: Final = "claim"
_LEAST_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Of one source."""

    attempts: int = 0
    last_s: float = 0.0
    open_s: float = 0.0
    """When it is heard again."""


def after(heard: Heard, now_s: float) -> Heard:
    """One more attempt. While they are refused, it changes nothing but the memory of it. Pure."""
    if now_s - heard.last_s >= FORGET_S:
        heard = Heard()
    if now_s < heard.open_s:
        return Heard(heard.attempts, now_s, heard.open_s)
    attempts = heard.attempts + 1
    wait_s = 0.0 if attempts < FREE else min(MOST_WAIT_S, _LEAST_WAIT_S * 2 ** min(attempts - FREE, 16))
    return Heard(attempts, now_s, now_s + wait_s)


class Attempts:
    """Any thread; one lock. At most `MOST_SOURCES` are remembered: then the one that was silent longest is
    forgotten.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`secret`: what is guessed, `KEY` or `CLAIM`."""
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, Heard] = OrderedDict()
        self._total = self._refused = 0

    def note(self, address: str) -> None:
        """An attempt came from there. Raises TooManyAttempts, which is all that its sender is told."""
        source, now_s = source_of(address), self._clock()
        with self._lock:
            before = self._sources.pop(source, Heard(last_s=now_s))
            heard = self._sources[source] = after(before, now_s)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
            self._total += 1
            is_refused = now_s < before.open_s and now_s - before.last_s < FORGET_S
            self._refused += is_refused
        if is_refused:
            raise TooManyAttempts(secret=self._secret, retry_after_s=heard.open_s - now_s)

    def forgive(self, address: str) -> None:
        """The attempt was right."""
        with self._lock:
            self._sources.pop(source_of(address), None)

    @property
    def sources(self) -> int:
        return len(self._sources)

    @property
    def counts(self) -> tuple[int, int]:
        """Attempts since the start, and how many of them were refused unheard."""
        with self._lock:
            return self._total, self._refused
