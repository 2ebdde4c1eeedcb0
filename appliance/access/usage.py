"""What is counted of who asks which model, hour by hour: values, and what waits to be written. Pure but for
the lock of `Pending`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

MOST_PENDING: Final = 4096
"""Rows that wait for a disk that cannot be written; what is more is counted as lost."""


class Row(NamedTuple):
    """What a tally is of."""

    hour: int
    """Since 1970, by the wall clock, in UTC."""
    key: str
    """Its id; empty: asked without a key, which only this machine may."""
    model: str
    """Its own name; empty: no model was found for what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    requests: int = 0
    """Ended, well or not."""
    errors: int = 0
    """Of those: answered by an error, or broken off by one."""
    prompt_tokens: int = 0
    """Computed or found in the cache."""
    cached_tokens: int = 0
    """Of those: found."""
    output_tokens: int = 0
    served_ms: int = 0
    """From the acceptance of each request to its last byte."""
    millijoules: int | None = None
    """None: nothing measures it."""

    def __add__(self, other: Tally) -> Tally:
        joules = [value for value in (self.millijoules, other.millijoules) if value is not None]
        return Tally(
            **{name: getattr(self, name) + getattr(other, name) for name in _COUNTED},
            millijoules=sum(joules) if joules else None,
        )


_COUNTED: Final = tuple(field.name for field in fields(Tally) if field.name != "millijoules")
_PROMPT: Final = _COUNTED.index("prompt_tokens")
"""Cached and output tokens stand behind them."""


class Pending:
    """What was counted since it was last written. Any thread; `tokens` is called for every step of every
    answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Row, list[int]] = {}
        """In the order of `_COUNTED`."""
        self._lost = 0

    def tokens(self, row: Row, prompt: int, cached: int, output: int) -> None:
        with self._lock:
            counts = self._counts(row)
            counts[_PROMPT] += prompt
            counts[_PROMPT + 1] += cached
            counts[_PROMPT + 2] += output

    def request(self, row: Row, *, failed: bool, served_ms: int) -> None:
        """One has ended."""
        with self._lock:
            counts = self._counts(row)
            counts[0] += 1
            counts[1] += failed
            counts[-1] += served_ms

    def take(self) -> Mapping[Row, Tally]:
        """All of it, which is nobody's but the caller's from now on."""
        with self._lock:
            rows, self._rows = self._rows, {}
        return {
            row: Tally(**dict(zip(_COUNTED, counts, strict=True)), millijoules=None)
            for row, counts in rows.items()
        }

    def _counts(self, row: Row) -> list[int]:
        """Of who finds no place they are counted for nobody."""
        found = self._rows.get(row)
        if found is None:
            found = [0] * len(_COUNTED)
            if len(self._rows) < MOST_PENDING:
                self._rows[row] = found
            else:
                self._lost += 1
        return found

    @property
    def lost(self) -> int:
        """Additions that found no place."""
        return self._lost

    def __len__(self) -> int:
        return len(self._rows)


class EnergyShares:
    """Joules of a model, shared among the keys by the tokens that were computed for each since its meter was
    last read. Owned by the thread that writes.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, dict[str, int]] = {}
        self._read: dict[str, float] = {}

    def computed(self, model: str, key: str, tokens: int) -> None:
        """`tokens` of a prompt that was not found in the cache, or of an answer."""
        if tokens > 0:
            keys = self._tokens.setdefault(model, {})
            keys[key] = keys.get(key, 0) + tokens

    def read(self, joules: Mapping[str, float]) -> dict[tuple[str, str], int]:
        """The meter's sums by model → millijoules by key and model. What was used while nobody's tokens were
        computed is nobody's.
        """
        told: dict[tuple[str, str], int] = {}
        for model, total in joules.items():
            used = total - self._read.get(model, total)
            self._read[model] = total
            if used <= 0:
                continue
            keys = self._tokens.pop(model, {})
            whole = sum(keys.values())
            for key, tokens in keys.items():
                told[key, model] = round(used * 1000 * tokens / whole)
        return told
