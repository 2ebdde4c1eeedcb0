"""What the load generator is asked for and what it measured: the values that cross its process boundary, as
JSON.

`python -m tests.bench.client` reads one `Load` from standard input and writes one `Report` to standard
output. All times are seconds since the load started (a monotonic clock), so that both ends need no common
clock.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any


class BenchError(Exception):
    """A measurement that would be worthless: a peer that fails, answers errors or counts wrongly. Ends the
    run.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One chat request, streamed."""

    body: dict[str, Any]
    start_s: float = 0.0
    """Sent this long after the load started."""
    starts_after_events: int = 0
    """Of the request before it in the list: wait for so many of its events first. 0: do not wait."""
    close_with_next: bool = False
    """Hang up when the next request in the list has its answer's first event: a stream that only has to run
    until then.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    host: str
    port: int
    path: str
    asks: list[Ask]
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One finished stream."""

    sent_s: float
    event_s: list[float]
    """Arrival of each event that carried text."""
    end_s: float
    prompt_tokens: int
    completion_tokens: int
    counted: str
    """usage: the server's own count; events: it sent none, one event is taken for one token."""
    text: str
    finish_reason: str | None
    cut: bool = False
    """We hung up, as asked."""

    @property
    def ttft_s(self) -> float:
        return self.event_s[0] - self.sent_s

    @property
    def total_s(self) -> float:
        return self.end_s - self.sent_s

    @property
    def gaps_s(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.event_s, self.event_s[1:], strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    answers: list[Answer] = field(default_factory=list)
    client_cpu_s: float = 0.0
    """Processor time of the load generator itself: what it took from the server under test."""

    @property
    def tokens(self) -> int:
        return sum(answer.completion_tokens for answer in self.answers)

    @property
    def wall_s(self) -> float:
        return max(answer.end_s for answer in self.answers) - min(answer.sent_s for answer in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """All clients together, from the first byte sent to the last byte received."""
        return self.tokens / self.wall_s

    @property
    def ttfts_s(self) -> list[float]:
        return [answer.ttft_s for answer in self.answers]

    @property
    def totals_s(self) -> list[float]:
        return [answer.total_s for answer in self.answers]

    @property
    def gaps_s(self) -> list[float]:
        return [gap for answer in self.answers for gap in answer.gaps_s]


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank: always a value that was measured. `percent` is in (0, 100]."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def encode(value: Load | Report) -> bytes:
    return json.dumps(asdict(value)).encode()


def decode_load(raw: bytes) -> Load:
    fields = json.loads(raw)
    fields["asks"] = [Ask(**ask) for ask in fields["asks"]]
    return Load(**fields)


def decode_report(raw: bytes) -> Report:
    fields = json.loads(raw)
    fields["answers"] = [Answer(**answer) for answer in fields["answers"]]
    return Report(**fields)
