"""What is worth writing and what is worth reading back. Pure decisions on values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

USED_ONCE: Final = 4
"""A prefix that one sequence alone had must be so many times the least length to be kept when another takes
its place."""
_GROWTH: Final = 8
"""A snapshot is made anew when its prefix has grown by one part in so many."""
_BURST_S: Final = 600.0
"""So long writing may have rested to be made up for at once: the prefixes of a model that is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a slot holds."""

    n_tokens: int
    covered: int
    """Of these, from the start, on the shelf already."""
    uses: int
    """Sequences that ran on it."""
    age: int
    """How many other slots were used later."""


def may_save(held: Held, *, min_tokens: int) -> bool:
    """Whether it should be on disk when the model goes: long enough, and not there as far as matters."""
    least = max(1, min_tokens, held.n_tokens // _GROWTH)
    return held.n_tokens >= min_tokens and held.n_tokens - held.covered >= least


def may_save_displaced(held: Held, *, min_tokens: int) -> bool:
    """The same for one that makes room for another prompt: not what one sequence had, unless it is long."""
    is_wanted = held.uses > 1 or held.n_tokens >= USED_ONCE * min_tokens
    return is_wanted and may_save(held, min_tokens=min_tokens)


def value(held: Held) -> float:
    """Which first, when time is short: what would take longest to compute again, wanted often and lately."""
    return (held.n_tokens - held.covered) * held.uses / (1.0 + held.age)


def pays_to_restore(*, restore_s: float, compute_s: float) -> bool:
    """Half, as for copies: reading takes the disk and memory from others, and the estimate may be wrong."""
    return restore_s < 0.5 * compute_s


class WriteBudget:
    """Bytes that may be written, so that flash wears slowly: a bucket that fills at a rate. Owned by the
    engine's thread.
    """

    def __init__(self, bytes_per_min: int, *, now_s: float) -> None:
        self._rate = bytes_per_min / 60.0
        self._most = self._rate * _BURST_S
        self._left = self._most
        self._at_s = now_s

    def take(self, n_bytes: int, *, now_s: float) -> bool:
        """Whether so many may be written now; they count as written then."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if n_bytes > self._left:
            return False
        self._left -= n_bytes
        return True


class Rate:
    """Bytes a second, learned. Owned by one thread; others may read it."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s

    def observe(self, n_bytes: int, seconds: float) -> None:
        if n_bytes and seconds > 0:
            self.bytes_per_s += 0.5 * (n_bytes / seconds - self.bytes_per_s)

    def expect_s(self, n_bytes: int) -> float:
        return n_bytes / self.bytes_per_s
