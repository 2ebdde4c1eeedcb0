"""The workloads of the benchmark and what each has to reach: a table, and how its rows are read off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import prompts
from tests.bench.goals import Goal
from tests.bench.load import Ask, BenchError, Report, percentile
from tests.bench.servers import CROWD, LLAMA_SERVER, LONG, SINGLE, SMALL, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One round of one workload on one server."""

    report: Report
    daemon_cpu_s: float
    """Processor time of the process that speaks HTTP, where it is not the one that computes; else 0."""
    rss_bytes: int
    """Resident memory of the process that computes, right after the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A goal and how its value is read off a round."""

    goal: Goal
    read: Callable[[Reading], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of work over HTTP."""

    letter: str
    title: str
    profile: Profile
    asks: Callable[[int], list[Ask]]
    """The requests of a round."""
    metrics: tuple[Metric, ...]
    neighbour: bool = False
    """Another process keeps one core busy meanwhile."""
    repeats: int = 1
    """Rounds of a short workload for each round asked for, because a short one scatters more."""
    peers: tuple[str, ...] = (LLAMA_SERVER,)
    """Those compared with us in every round."""
    guest_rounds: int | None = 0
    """Rounds in which the second peer takes part; None: all. It has no goal, and is slow where it is slow."""
    time_limit_s: float = 120.0

    @property
    def name(self) -> str:
        return f"{self.letter}) {self.title}"

    @property
    def letters(self) -> set[str]:
        return {self.letter, *(metric.goal.letter for metric in self.metrics)}


def _one(body: Callable[[int], dict[str, Any]]) -> Callable[[int], list[Ask]]:
    return lambda round_number: [Ask(body=body(round_number))]


def _many(body: Callable[[int, int], dict[str, Any]], clients: int) -> Callable[[int], list[Ask]]:
    return lambda round_number: [Ask(body=body(round_number, client)) for client in range(clients)]


def _stalled(round_number: int) -> list[Ask]:
    stream = prompts.short(round_number, 0, max_tokens=prompts.STREAM_TOKENS)
    long = prompts.long_prompt(round_number, words=_LONG_WORDS)
    quiet = Ask(body=stream, close_with_next=True)
    return [quiet, Ask(body=long, starts_after_events=_QUIET_EVENTS)]


def _tokens_per_s(reading: Reading) -> float:
    return reading.report.tokens_per_s


def _ttft_s(percent: float) -> Callable[[Reading], float]:
    return lambda reading: percentile(reading.report.ttfts_s, percent)


def _total_s(percent: float) -> Callable[[Reading], float]:
    return lambda reading: percentile(reading.report.totals_s, percent)


def _daemon_ms(reading: Reading) -> float:
    return 1000 * reading.daemon_cpu_s / reading.report.tokens


def _rss_mb(reading: Reading) -> float:
    return reading.rss_bytes / 1e6


def split_gaps(report: Report) -> tuple[list[float], list[float]]:
    """Gaps of the first stream before the second was sent, and from then to the second's first event."""
    stream, long = report.answers
    if not _LONG_PROMPT_TOKENS[0] <= long.prompt_tokens <= _LONG_PROMPT_TOKENS[1]:
        raise BenchError(f"the long prompt has {long.prompt_tokens} tokens, wanted {_LONG_PROMPT_TOKENS}")
    pairs = list(zip(stream.event_s, stream.event_s[1:], strict=False))
    quiet = [later - earlier for earlier, later in pairs if later <= long.sent_s]
    busy = [later - earlier for earlier, later in pairs if later > long.sent_s and earlier < long.event_s[0]]
    return quiet, busy


def _gap_growth(reading: Reading) -> float:
    quiet, busy = split_gaps(reading.report)
    return percentile(busy, 99) / percentile(quiet, 99)


_LONG_WORDS: Final = 6650
_LONG_PROMPT_TOKENS: Final = (7600, 8150)
_QUIET_EVENTS: Final = 300

WORKLOADS: Final = (
    Workload(
        letter="a",
        title="1 client, 64 tokens, streamed",
        profile=SINGLE,
        repeats=3,
        guest_rounds=None,
        asks=_one(lambda round_number: prompts.short(round_number, 0)),
        metrics=(
            Metric(goal=Goal("a1", "tok/s", "tok/s", at_least=1.0), read=_tokens_per_s),
            Metric(goal=Goal("a2", "TTFT", "s", at_most=1.0), read=_ttft_s(50)),
        ),
    ),
    Workload(
        letter="c",
        title="8 clients, different short prompts, 64 tokens",
        profile=SMALL,
        guest_rounds=None,
        asks=_many(prompts.short, 8),
        metrics=(
            Metric(goal=Goal("c1", "tok/s", "tok/s", at_least=1.2), read=_tokens_per_s),
            Metric(goal=Goal("c2", "TTFT p50", "s", at_most=0.6), read=_ttft_s(50)),
        ),
    ),
    Workload(
        letter="d",
        title="50 clients, different short prompts, 64 tokens",
        profile=CROWD,
        guest_rounds=1,
        asks=_many(prompts.short, 50),
        metrics=(
            Metric(goal=Goal("d1", "tok/s", "tok/s", at_least=1.1), read=_tokens_per_s),
            Metric(goal=Goal("d2", "whole answer p99", "s", at_most=0.9), read=_total_s(99)),
            Metric(goal=Goal("h", "daemon CPU/token", "ms", at_most=0.15, absolute=True), read=_daemon_ms),
            Metric(goal=Goal("i", "memory at 50 slots", "MB", at_most=1.0), read=_rss_mb),
        ),
    ),
    Workload(
        letter="e",
        title="50 clients at once, one 400-word system prompt, 32 tokens",
        profile=CROWD,
        guest_rounds=1,
        asks=_many(prompts.shared_system, 50),
        metrics=(
            Metric(goal=Goal("e1", "tok/s", "tok/s", at_least=9.0), read=_tokens_per_s),
            Metric(goal=Goal("e2", "TTFT p99", "s", at_most=0.07), read=_ttft_s(99)),
        ),
        time_limit_s=600.0,
    ),
    Workload(
        letter="f",
        title="rewrite: the answer repeats the prompt",
        profile=SINGLE,
        repeats=2,
        asks=_one(prompts.rewrite),
        metrics=(Metric(goal=Goal("f1", "tok/s", "tok/s", at_least=1.5), read=_tokens_per_s),),
    ),
    Workload(
        letter="f",
        title="extract: the answer repeats the prompt",
        profile=SINGLE,
        repeats=2,
        asks=_one(prompts.extract),
        metrics=(Metric(goal=Goal("f2", "tok/s", "tok/s", at_least=1.5), read=_tokens_per_s),),
    ),
    Workload(
        letter="g",
        title="1 client, one core kept busy by another process",
        profile=SINGLE,
        repeats=2,
        asks=_one(lambda round_number: prompts.short(round_number, 1)),
        metrics=(Metric(goal=Goal("g", "tok/s", "tok/s", at_least=2.0), read=_tokens_per_s),),
        neighbour=True,
    ),
    Workload(
        letter="j",
        title="a stream while an 8k-token prompt is prefilled",
        profile=LONG,
        asks=_stalled,
        metrics=(Metric(goal=Goal("j", "gap growth", "x", at_most=2.0, absolute=True), read=_gap_growth),),
        peers=(),
        time_limit_s=900.0,
    ),
)  # fmt: skip


ENGINE_GOALS: Final = {
    sequences: Goal(f"b{sequences}", "decode tok/s", "tok/s", at_least=0.98) for sequences in (1, 8, 32)
}
