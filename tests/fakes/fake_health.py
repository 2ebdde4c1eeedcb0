"""Health reports: one that is well, and one as a fake Inference would give it; and a model that stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from appliance.health.report import HealthReport, RunnerHealth
from appliance.supervisor.inference import Inference
from appliance.supervisor.states import RunnerState
from appliance.supervisor.status import ModelStatus

STOPPED = ModelStatus(
    name="cold",
    state=RunnerState.STOPPED,
    reason=None,
    is_preloaded=False,
    is_quarantined=False,
    is_hung=False,
    crashes=0,
    starts=0,
    running=0,
    waiting=0,
    waiting_background=0,
    loading_progress=None,
    runner_pid=None,
    sandbox=None,
    facts=None,
    load_s=None,
    rss_bytes=None,
    uptime_s=None,
    silent_s=None,
    tokens_per_s=None,
    last_token_age_s=None,
    stats=None,
)

READY = RunnerHealth(
    model="m",
    state="ready",
    reason=None,
    is_preloaded=True,
    is_quarantined=False,
    is_hung=False,
    crashes=0,
    starts=1,
    running=0,
    waiting=0,
    waiting_background=0,
    loading_progress=None,
    runner_pid=1,
    sandbox_level="full",
    sandbox_missing=(),
    rss_bytes=1,
    n_seq_max=64,
    n_ctx_seq=2048,
    device="cpu",
    load_s=1.0,
    uptime_s=60.0,
    silent_s=0.5,
    tokens_per_s=0.0,
    kv_cells_used=0,
    kv_cells=4096,
    last_token_age_s=None,
)


def report_with(*runners: RunnerHealth, alive: bool = True, stopping: bool = False) -> HealthReport:
    return HealthReport(
        version="1", uptime_s=1.0, is_supervisor_alive=alive, is_stopping=stopping, runners=runners
    )


def report_of(inference: Inference) -> Callable[[], HealthReport]:
    """All that it serves is well."""
    ready = [replace(READY, model=card.name) for card in inference.models()]
    return lambda: report_with(*ready)
