"""What the door tells of requests that are over, counted: `outpost_http_*`, tokens, times.

Labels come from closed sets: routes, statuses, codes of the one table of errors, models that answered. No
client can make series, and no key is named: usage by key is `outpost usage`.
"""

from __future__ import annotations

from typing import Final, Protocol

from appliance.histogram import SECONDS, TOKEN_SECONDS, Histogram
from appliance.supervisor.turn import Turn
from appliance.telemetry.families import Family, Labels
from appliance.telemetry.model_labels import ModelLabels
from appliance.telemetry.text import head, histogram_lines, line
from appliance.wire.messages import Accepted, Usage

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MODEL: Final = ("model",)

_COUNTERS: Final = (
    Family(
        "http_requests_total",
        "Requests answered, by route and status.",
        "counter",
        ("method", "route", "status"),
    ),
    Family(
        "http_errors_total",
        "Of these, those that ended with an error, also in the middle of a stream; by its code.",
        "counter",
        ("route", "code"),
    ),
    Family("prompt_tokens_total", "Tokens of all prompts, reused ones included.", "counter", _MODEL),
    Family("cached_prompt_tokens_total", "Prompt tokens that were reused, not computed.", "counter", _MODEL),
    Family("generated_tokens_total", "Tokens generated.", "counter", _MODEL),
    Family("draft_tokens_total", "Tokens guessed ahead.", "counter", _MODEL),
    Family("draft_accepted_tokens_total", "Tokens guessed ahead that were right.", "counter", _MODEL),
    Family(
        "prefix_lookups_total",
        "Prompts, by whether the beginning of one was reused (hit) or all of it computed (miss).",
        "counter",
        ("model", "result"),
    ),
)
_HISTOGRAMS: Final = (
    Family(
        "request_seconds",
        "From the first byte of a request to the last of its answer.",
        "histogram",
        ("route",),
        SECONDS,
    ),
    Family(
        "queue_seconds",
        "From the first byte of a request until a model took it.",
        "histogram",
        _MODEL,
        SECONDS,
    ),
    Family(
        "queue_wait_seconds",
        "In line for a model: until a request's turn, or until it was sent away; by class.",
        "histogram",
        ("priority",),
        SECONDS,
    ),
    Family(
        "time_to_first_token_seconds",
        "From the first byte of a request to the first token of its answer.",
        "histogram",
        _MODEL,
        SECONDS,
    ),
    Family(
        "inter_token_seconds",
        "Between two tokens of an answer as its client gets them; counted when the answer is complete.",
        "histogram",
        _MODEL,
        TOKEN_SECONDS,
    ),
)
FAMILIES: Final = (*_COUNTERS, *_HISTOGRAMS)


class Ended(Protocol):
    """What is read of an exchange that is over."""

    @property
    def method(self) -> str: ...
    @property
    def route(self) -> str | None: ...
    @property
    def status(self) -> int: ...
    @property
    def error_code(self) -> str | None: ...
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
    def token_gaps(self) -> Histogram | None: ...
    @property
    def total_s(self) -> float: ...
    @property
    def turn(self) -> Turn: ...


class DoorCounts:
    """Guarded by its owner's lock."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[Labels, float]] = {family.name: {} for family in _COUNTERS}
        self._histograms: dict[str, dict[Labels, Histogram]] = {family.name: {} for family in _HISTOGRAMS}
        self._models = ModelLabels()

    def add(self, ended: Ended) -> None:
        method = ended.method if ended.method in _METHODS else "other"
        route = (("route", ended.route or "unmatched"),)
        self._count("http_requests_total", 1, (("method", method), *route, ("status", str(ended.status))))
        if ended.error_code is not None:
            self._count("http_errors_total", 1, (*route, ("code", ended.error_code)))
        self._observe("request_seconds", ended.total_s, route)
        if ended.turn.waited_s is not None:
            priority = (("priority", ended.turn.priority.value),)
            self._observe("queue_wait_seconds", ended.turn.waited_s, priority)
        if ended.model is not None and (ended.accepted is not None or ended.usage is not None):
            self._add_of_model(ended, (("model", self._models.label(ended.model)),))

    def _add_of_model(self, ended: Ended, model: Labels) -> None:
        """Only for requests that a model took: its name is then one of ours."""
        if ended.usage is not None:
            self._add_tokens(ended.usage, model)
        if ended.queued_s is not None:
            self._observe("queue_seconds", ended.queued_s, model)
        if ended.first_token_s is not None:
            self._observe("time_to_first_token_seconds", ended.first_token_s, model)
        if ended.token_gaps is not None:
            known = self._histograms["inter_token_seconds"]
            known.setdefault(model, Histogram(TOKEN_SECONDS)).add(ended.token_gaps)

    def _add_tokens(self, usage: Usage, model: Labels) -> None:
        self._count("prompt_tokens_total", usage.prompt_tokens, model)
        self._count("cached_prompt_tokens_total", usage.cached_tokens, model)
        self._count("generated_tokens_total", usage.completion_tokens, model)
        self._count("draft_tokens_total", usage.draft_tokens, model)
        self._count("draft_accepted_tokens_total", usage.draft_accepted_tokens, model)
        result = "hit" if usage.cached_tokens else "miss"
        self._count("prefix_lookups_total", 1, (*model, ("result", result)))

    def _count(self, name: str, amount: float, labels: Labels) -> None:
        series = self._counters[name]
        series[labels] = series.get(labels, 0) + amount

    def _observe(self, name: str, value: float, labels: Labels) -> None:
        self._histograms[name].setdefault(labels, Histogram(SECONDS)).observe(value)

    def lines(self) -> list[str]:
        lines: list[str] = []
        for family in _COUNTERS:
            lines += head(family.name, family.help, family.kind)
            lines += [line(family.name, labels, n) for labels, n in self._counters[family.name].items()]
        for family in _HISTOGRAMS:
            lines += head(family.name, family.help, family.kind)
            for labels, histogram in self._histograms[family.name].items():
                lines += histogram_lines(family.name, labels, histogram)
        return lines
