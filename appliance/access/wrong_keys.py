"""Slows down who guesses keys, without ever making a good key wait.

A source is an IPv4 address, or the /64 that an IPv6 host may take its addresses from. After `FREE` wrong
keys each further one opens a time in which wrong keys of this source are answered by 429 at once: 2 s, and
twice as long after every wrong key that came later, to a minute. A source is forgotten when it has been
silent for `FORGET_S`. Nobody sleeps, and every key is compared (2 µs): so a good key passes also from
where somebody guesses, and who guesses learns nothing from the refusal. At 256 bits the delay is no
protection of keys; it keeps the log short, and shows.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.access.sources import source_of
from appliance.errors import TooManyWrongKeys

FREE: Final = 5
MOST_WAIT_S: Final = 60.0
FORGET_S: Final = 900.0
MOST_SOURCES: Final = 4096
_LEAST_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Guesses:
    """Of one source."""

    wrong: int = 0
    last_s: float = 0.0
    open_s: float = 0.0
    """When wrong keys are looked at again."""


def after(guesses: Guesses, now_s: float) -> Guesses:
    """One more wrong key. While they are refused, it changes nothing but the memory of it. Pure."""
    if now_s - guesses.last_s >= FORGET_S:
        guesses = Guesses()
    if now_s < guesses.open_s:
        return Guesses(guesses.wrong, now_s, guesses.open_s)
    wrong = guesses.wrong + 1
    wait_s = 0.0 if wrong < FREE else min(MOST_WAIT_S, _LEAST_WAIT_S * 2 ** min(wrong - FREE, 16))
    return Guesses(wrong, now_s, now_s + wait_s)


class WrongKeys:
    """Any thread; one lock. At most `MOST_SOURCES` are remembered: then the one that was silent longest is
    forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, Guesses] = OrderedDict()
        self._total = self._refused = 0

    def note(self, address: str) -> None:
        """A wrong key came from there. Raises TooManyWrongKeys instead of being told so."""
        source, now_s = source_of(address), self._clock()
        with self._lock:
            before = self._sources.pop(source, Guesses(last_s=now_s))
            guesses = self._sources[source] = after(before, now_s)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
            self._total += 1
            is_refused = now_s < before.open_s and now_s - before.last_s < FORGET_S
            self._refused += is_refused
        if is_refused:
            raise TooManyWrongKeys(retry_after_s=guesses.open_s - now_s)

    @property
    def sources(self) -> int:
        return len(self._sources)

    @property
    def counts(self) -> tuple[int, int]:
        """Wrong keys since the start, and how many of them were refused unheard."""
        with self._lock:
            return self._total, self._refused
