"""What the runners tell of themselves, as samples for `/metrics`: `outpost_engine_*` and `outpost_runner_*`.

A model without a loaded runner has no `engine` series; counters start at nothing with each runner, which is
what Prometheus's `rate` expects of a process that was restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from appliance.supervisor.states import Eviction
from appliance.supervisor.status import ModelStatus
from appliance.telemetry.families import Family, Sample
from appliance.telemetry.model_labels import told
from appliance.wire.messages import EngineStats

Of = TypeVar("Of")

SANDBOX_LEVELS: Final = ("full", "partial", "none")


@dataclass(frozen=True, slots=True)
class _Metric(Generic[Of]):
    name: str
    read: Callable[[Of], float | None]
    """None: not known, and no series."""
    help: str
    kind: str = "gauge"

    def family(self, prefix: str) -> Family:
        return Family(f"{prefix}_{self.name}", self.help, self.kind, ("model",))


_ENGINE: Final[tuple[_Metric[EngineStats], ...]] = (
    _Metric("running", lambda stats: stats.running, "Requests the engine works on."),
    _Metric("waiting", lambda stats: stats.waiting, "Requests that wait inside the engine for a sequence."),
    _Metric("steps_total", lambda stats: stats.steps, "Engine steps.", "counter"),
    _Metric(
        "prompt_tokens_total",
        lambda stats: stats.prompt_tokens,
        "Prompt tokens that were computed.",
        "counter",
    ),
    _Metric(
        "cached_tokens_total", lambda stats: stats.cached_tokens, "Prompt tokens that were reused.", "counter"
    ),
    _Metric("generated_tokens_total", lambda stats: stats.generated_tokens, "Tokens generated.", "counter"),
    _Metric("draft_tokens_total", lambda stats: stats.draft_tokens, "Tokens guessed ahead.", "counter"),
    _Metric(
        "draft_accepted_tokens_total",
        lambda stats: stats.draft_accepted_tokens,
        "Tokens guessed ahead that were right.",
        "counter",
    ),
    _Metric("kv_cells_used", lambda stats: stats.kv_cells_used, "Cells of the KV cache in use."),
    _Metric("kv_cells", lambda stats: stats.kv_cells, "Cells of the KV cache."),
    _Metric("prefixes", lambda stats: stats.prefixes, "Cached prefixes that can be reused."),
    _Metric(
        "restored_tokens_total",
        lambda stats: stats.restored_tokens,
        "Tokens whose KV state came back from disk.",
        "counter",
    ),
    _Metric("snapshots", lambda stats: stats.snapshots, "Prefixes of the model on disk."),
    _Metric("snapshot_bytes", lambda stats: stats.snapshot_bytes, "Bytes of these."),
    _Metric(
        "snapshots_written_total", lambda stats: stats.snapshots_written, "Prefixes put on disk.", "counter"
    ),
    _Metric(
        "snapshot_written_bytes_total",
        lambda stats: stats.snapshot_written_bytes,
        "Bytes written for these.",
        "counter",
    ),
    _Metric(
        "snapshots_refused_total",
        lambda stats: stats.snapshots_refused,
        "Files in the place of snapshots that were damaged, forged or not taken.",
        "counter",
    ),
    _Metric(
        "snapshots_failed_total",
        lambda stats: stats.snapshots_failed,
        "Prefixes that could not be put on disk.",
        "counter",
    ),
    _Metric("threads", lambda stats: stats.n_threads, "Compute threads of the next step."),
    _Metric("computing_seconds_total", lambda stats: stats.computing_s, "Time inside of decodes.", "counter"),
    _Metric("step_p50_seconds", lambda stats: stats.step_s_p50, "Median time of the last 128 steps."),
    _Metric("step_max_seconds", lambda stats: stats.step_s_max, "Longest of the last 128 steps."),
)


_RUNNERS: Final[tuple[_Metric[ModelStatus], ...]] = (
    _Metric("starts_total", lambda model: model.starts, "Runners started.", "counter"),
    _Metric("crashes_in_a_row", lambda model: model.crashes, "Crashes since the last success."),
    _Metric(
        "quarantined", lambda model: model.is_quarantined, "1 while the model is left alone after crashes."
    ),
    _Metric("hung", lambda model: model.is_hung, "1 while a loaded runner gives no sign of life."),
    _Metric(
        "degraded", lambda model: model.degraded is not None, "1 while it decodes below half of its usual."
    ),
    _Metric("load_seconds", lambda model: model.load_s, "How long its last load took."),
    _Metric("planned_memory_bytes", lambda model: model.planned_bytes or 0, "What its placement may take."),
    _Metric("measured_memory_bytes", lambda model: model.measured_bytes, "What its load took."),
    _Metric(
        "planner_ratio",
        lambda model: _ratio(model.planned_bytes, model.measured_bytes),
        "Planned by measured memory: 1 is exact, below it was planned too small.",
    ),
    _Metric("resident_memory_bytes", lambda model: model.rss_bytes or 0, "Memory of the model's runner."),
)


_PLACEMENTS: Final[tuple[_Metric[ModelStatus], ...]] = (
    _Metric(
        "alarm", lambda model: model.alarm is not None, "1 while a model is not on the GPU it was to be on."
    ),
)


_SANDBOX: Final = Family(
    "runner_sandbox", "1 for how far the model's runner is boxed in.", labels=("model", "level")
)
_EVICTIONS: Final = Family(
    "runner_evictions_total",
    "Runners put out of memory: idle for their time, for want of memory, or by an operator's wish.",
    "counter",
    ("model", "reason"),
)
FAMILIES: Final = (
    *(metric.family("engine") for metric in _ENGINE),
    *(metric.family("runner") for metric in _RUNNERS),
    *(metric.family("placement") for metric in _PLACEMENTS),
    _SANDBOX,
    _EVICTIONS,
)


def engine_samples(models: Sequence[ModelStatus]) -> list[Sample]:
    """All samples of one name stand together."""
    models = told(models)
    engines = [(model.name, model.stats) for model in models if model.stats is not None]
    runners = [(model.name, model) for model in models]
    return [
        *(sample for metric in _ENGINE for sample in _samples("engine", metric, engines)),
        *(sample for metric in _RUNNERS for sample in _samples("runner", metric, runners)),
        *(sample for metric in _PLACEMENTS for sample in _samples("placement", metric, runners)),
        *_sandboxes(models),
        *_evictions(models),
    ]


def _samples(prefix: str, metric: _Metric[Of], sources: Sequence[tuple[str, Of]]) -> list[Sample]:
    family = metric.family(prefix)
    values = [(model, metric.read(source)) for model, source in sources]
    return [family.sample(value, model) for model, value in values if value is not None]


def _sandboxes(models: Sequence[ModelStatus]) -> list[Sample]:
    return [
        _SANDBOX.sample(model.sandbox.level == level, model.name, level)
        for model in models
        if model.sandbox is not None
        for level in SANDBOX_LEVELS
    ]


def _evictions(models: Sequence[ModelStatus]) -> list[Sample]:
    return [
        _EVICTIONS.sample(model.evictions.get(reason, 0), model.name, reason.value)
        for model in models
        for reason in Eviction
    ]


def _ratio(planned_bytes: int | None, measured_bytes: int | None) -> float | None:
    return planned_bytes / measured_bytes if planned_bytes and measured_bytes else None
