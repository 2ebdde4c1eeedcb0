"""`/metrics`: counters of requests and tokens, gauges of now, in Prometheus's text form 0.0.4. Names:
`outpost_*`.

Counts what the door tells (`api/exchange.Observer`, which this implements) and asks the rest at the moment of
the question: runner states of the supervisor, the daemon's own process, and whatever `sources` add. Labels
come from closed sets (routes, models that answered), so that no client can make series.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from appliance.hardware.system import OwnProcess
from appliance.supervisor.inference import Inference
from appliance.supervisor.turn import Turn
from appliance.wire.messages import Accepted, Usage

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
RUNNER_STATES: Final = ("stopped", "starting", "ready", "draining", "stopping", "failed")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a gauge or counter that another part reports. `name` without the prefix `outpost_`."""

    name: str
    value: float
    labels: Labels = ()
    help: str = ""
    kind: str = "gauge"


class Ended(Protocol):
    """What is read of an exchange that is over."""

    @property
    def method(self) -> str: ...
    @property
    def route(self) -> str | None: ...
    @property
    def status(self) -> int: ...
    @property
    def model(self) -> str | None: ...
    @property
    def accepted(self) -> Accepted | None: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def queued_s(self) -> float | None: ...
    @property
    def first_token_s(self) -> float | None: ...
    @property
    def total_s(self) -> float: ...
    @property
    def turn(self) -> Turn: ...


@dataclass(slots=True)
class _Histogram:
    """Guarded by the owner's lock."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(SECONDS_BUCKETS, value)] += 1
        self.sum += value


class Prometheus:
    """Any thread; one lock around all counts."""

    def __init__(
        self, inference: Inference, *, sources: Sequence[Callable[[], Iterable[Sample]]] = ()
    ) -> None:
        self._inference = inference
        self._sources = sources
        self._process = OwnProcess()
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {name: {} for name in _HISTOGRAMS}
        self._waiting = 0

    # ── what the door tells
    # ────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait of one request for its turn."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def exchange_ended(self, exchange: Ended) -> None:
        method = exchange.method if exchange.method in _METHODS else "other"
        route = (("route", exchange.route or "unmatched"),)
        with self._lock:
            self._count(
                "http_requests_total", 1, (("method", method), *route, ("status", str(exchange.status)))
            )
            self._observe("request_seconds", exchange.total_s, route)
            if exchange.turn.waited_s is not None:
                priority = (("priority", exchange.turn.priority.value),)
                self._observe("queue_wait_seconds", exchange.turn.waited_s, priority)
            if exchange.model is not None and (exchange.accepted is not None or exchange.usage is not None):
                self._count_tokens(exchange, (("model", exchange.model),))

    def _count_tokens(self, exchange: Ended, model: Labels) -> None:
        """Only for requests that a model took: its name is then one of ours."""
        if exchange.usage is not None:
            self._count("prompt_tokens_total", exchange.usage.prompt_tokens, model)
            self._count("cached_prompt_tokens_total", exchange.usage.cached_tokens, model)
            self._count("generated_tokens_total", exchange.usage.completion_tokens, model)
            self._count("draft_tokens_total", exchange.usage.draft_tokens, model)
            self._count("draft_accepted_tokens_total", exchange.usage.draft_accepted_tokens, model)
        if exchange.queued_s is not None:
            self._observe("queue_seconds", exchange.queued_s, model)
        if exchange.first_token_s is not None:
            self._observe("time_to_first_token_seconds", exchange.first_token_s, model)

    def _count(self, name: str, amount: float, labels: Labels) -> None:
        series = self._counters[name]
        series[labels] = series.get(labels, 0) + amount

    def _observe(self, name: str, value: float, labels: Labels) -> None:
        self._histograms[name].setdefault(labels, _Histogram()).observe(value)

    # ── what Prometheus asks
    # ───────────────────────────────────────────────────────────────────────────────────────

    def render(self) -> str:
        """The whole page."""
        lines: list[str] = []
        with self._lock:
            for name, text in _COUNTERS.items():
                lines += _head(name, text, "counter")
                lines += [_line(name, labels, value) for labels, value in self._counters[name].items()]
            for name, text in _HISTOGRAMS.items():
                lines += _head(name, text, "histogram")
                for labels, histogram in self._histograms[name].items():
                    lines += _histogram_lines(name, labels, histogram)
            waiting = self._waiting
        lines += _sample_lines([Sample(name="requests_waiting", value=waiting, help=_WAITING_HELP)])
        lines += _sample_lines(self._runner_samples())
        lines += _sample_lines(self._process_samples())
        for source in self._sources:
            lines += _sample_lines(source())
        return "\n".join(lines) + "\n"

    def _runner_samples(self) -> list[Sample]:
        return [
            Sample(
                name="runner_state",
                value=1 if card.state == state else 0,
                labels=(("model", card.name), ("state", state)),
                help="1 for the state the model's runner is in.",
            )
            for card in self._inference.models()
            for state in RUNNER_STATES
        ]

    def _process_samples(self) -> list[Sample]:
        figures = self._process.figures()
        return [
            Sample(
                name="process_cpu_seconds_total",
                value=figures.cpu_s,
                help="CPU time of the daemon, without its runners.",
                kind="counter",
            ),
            Sample(
                name="process_resident_memory_bytes",
                value=figures.resident_bytes,
                help="Memory of the daemon, without its runners.",
            ),
            Sample(name="process_threads", value=figures.threads, help="Threads of the daemon."),
            Sample(name="process_open_fds", value=figures.open_files, help="Open descriptors."),
            Sample(
                name="process_start_time_seconds",
                value=figures.started_s,
                help="Unix time at which the daemon started.",
            ),
        ]


_COUNTERS: Final = {
    "http_requests_total": "Requests answered, by route and status.",
    "prompt_tokens_total": "Tokens of all prompts, reused ones included.",
    "cached_prompt_tokens_total": "Prompt tokens that were reused and not computed.",
    "generated_tokens_total": "Tokens generated.",
    "draft_tokens_total": "Tokens guessed ahead.",
    "draft_accepted_tokens_total": "Tokens guessed ahead that were right.",
}
_HISTOGRAMS: Final = {
    "request_seconds": "From the first byte of a request to the last of its answer.",
    "queue_seconds": "From the first byte of a request until a model took it.",
    "queue_wait_seconds": "In line for a model: until a request's turn, or until it was sent away; by class.",
    "time_to_first_token_seconds": "From the first byte of a request to the first token of its answer.",
}
_WAITING_HELP: Final = "Requests that wait for a model to take them."


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP outpost_{name} {text}", f"# TYPE outpost_{name} {kind}"]


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"outpost_{name}{{{inner}}} {_number(value)}" if inner else f"outpost_{name} {_number(value)}"


def _histogram_lines(name: str, labels: Labels, histogram: _Histogram) -> list[str]:
    lines, total = [], 0
    for bound, count in zip((*map(str, SECONDS_BUCKETS), "+Inf"), histogram.counts, strict=True):
        total += count
        lines.append(_line(f"{name}_bucket", (*labels, ("le", bound)), total))
    return [*lines, _line(f"{name}_sum", labels, histogram.sum), _line(f"{name}_count", labels, total)]


def _sample_lines(samples: Iterable[Sample]) -> list[str]:
    """Samples of one name come one after another; each name has its head once."""
    lines: list[str] = []
    last = None
    for sample in samples:
        if sample.name != last:
            lines += _head(sample.name, sample.help, sample.kind)
            last = sample.name
        lines.append(_line(sample.name, sample.labels, sample.value))
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
