"""The one health report: what each part shows of itself, gathered at one moment. Facts only; `rules`
judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.health.access import AccessHealth
from appliance.health.cooling import CoolingHealth
from appliance.supervisor.status import ModelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Concession:
    """One thing that a placement gives up, so that it fits into memory."""

    what: str
    wanted: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHealth:
    """One model and its runner."""

    model: str
    state: str
    reason: str | None
    is_preloaded: bool
    is_quarantined: bool
    is_hung: bool
    """Ready, and silent (or computing nothing) for half of the time after which it is killed."""
    crashes: int
    """In a row."""
    starts: int
    running: int
    waiting: int
    waiting_background: int
    """Of those that wait."""
    loading_progress: float | None
    runner_pid: int | None
    sandbox_level: str | None
    """full | partial | none, as reached; None while no runner has told."""
    sandbox_missing: tuple[str, ...]
    rss_bytes: int | None
    n_seq_max: int | None
    """Sequences it runs at once; None (as below) until the model was loaded once."""
    n_ctx_seq: int | None
    device: str | None
    load_s: float | None
    uptime_s: float | None
    """Since it was ready; None (as below) while there is no runner."""
    silent_s: float | None
    """Since its last step or heartbeat."""
    tokens_per_s: float | None
    """Generated over the last ten seconds of heartbeats."""
    kv_cells_used: int | None
    kv_cells: int | None
    last_token_age_s: float | None
    optimized: str | None = None
    """Which variant of the model's weights is served, or why the measured one is not."""
    hint: str | None = None
    """What there may be to gain by one, unmeasured."""
    stalled_s: float | None = None
    """For how long it has computed nothing of what it is asked, though it beats."""
    n_gpu_layers: int | None = None
    """Of `n_layers`, as loaded."""
    n_layers: int | None = None
    type_k: str | None = None
    type_v: str | None = None
    kernels: str | None = None
    is_pinned: bool | None = None
    expires_in_s: float | None = None
    """Until idleness puts it out of memory; None: it does not, or it is at work or not loaded."""
    planned_bytes: int | None = None
    """What its placement takes at its peak, by the plan."""
    measured_bytes: int | None = None
    """What its load took."""
    conceded: tuple[Concession, ...] = ()
    variant: str | None = None
    """The smaller model that stands in, so that it fits."""
    alarm: str | None = None
    """Why it does not run where it was to run."""
    degraded: str | None = None
    """Why it is much slower than it usually is."""
    calibrated: str | None = None
    """What was measured of it on this board, or why that is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenModel:
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreHealth:
    """The model store and its disk."""

    models: int
    broken: tuple[BrokenModel, ...]
    """Names that are not served because their bytes are not what they were."""
    free_bytes: int | None
    """None: the disk does not say."""
    floor_bytes: int | None
    """Of the free bytes: what pulls and imports leave alone."""
    gc_withheld: tuple[str, ...] = ()
    """Names whose manifest cannot be read, each with the reason: while there are any, no room is freed."""
    fault: str | None = None
    """Why nothing is known of what is stored, with the next step; None: it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    version: str
    uptime_s: float
    is_supervisor_alive: bool
    """Its loop answered just now."""
    is_stopping: bool
    runners: tuple[RunnerHealth, ...]
    store: StoreHealth | None = None
    cooling: CoolingHealth | None = None
    """None: nobody watches the sensors."""
    access: AccessHealth | None = None


def collect(
    *,
    version: str,
    uptime_s: float,
    is_supervisor_alive: bool,
    is_stopping: bool,
    models: Sequence[ModelStatus],
    store: StoreHealth | None = None,
    cooling: CoolingHealth | None = None,
    access: AccessHealth | None = None,
) -> HealthReport:
    return HealthReport(
        version=version,
        uptime_s=round(uptime_s, 3),
        is_supervisor_alive=is_supervisor_alive,
        is_stopping=is_stopping,
        runners=tuple(_runner(status) for status in models),
        store=store,
        cooling=cooling,
        access=access,
    )


def _runner(status: ModelStatus) -> RunnerHealth:
    sandbox, facts, stats = status.sandbox, status.facts, status.stats
    return RunnerHealth(
        model=status.name,
        state=status.state,
        reason=status.reason,
        is_preloaded=status.is_preloaded,
        is_quarantined=status.is_quarantined,
        is_hung=status.is_hung,
        crashes=status.crashes,
        starts=status.starts,
        running=status.running,
        waiting=status.waiting,
        waiting_background=status.waiting_background,
        loading_progress=status.loading_progress,
        runner_pid=status.runner_pid,
        sandbox_level=sandbox.level if sandbox else None,
        sandbox_missing=tuple(sandbox.missing) if sandbox else (),
        rss_bytes=status.rss_bytes,
        n_seq_max=facts.n_seq_max if facts else None,
        n_ctx_seq=facts.n_ctx_seq if facts else None,
        device=facts.device if facts else None,
        load_s=status.load_s,
        uptime_s=_rounded(status.uptime_s),
        silent_s=_rounded(status.silent_s),
        tokens_per_s=_rounded(status.tokens_per_s),
        kv_cells_used=stats.kv_cells_used if stats else None,
        kv_cells=stats.kv_cells if stats else None,
        last_token_age_s=_rounded(status.last_token_age_s),
        optimized=status.optimized,
        hint=status.hint,
        stalled_s=round(status.stalled_s, 3),
        n_gpu_layers=facts.n_gpu_layers if facts else None,
        n_layers=facts.n_layers if facts else None,
        type_k=facts.type_k if facts else None,
        type_v=facts.type_v if facts else None,
        kernels=facts.kernels if facts else None,
        is_pinned=status.is_pinned,
        expires_in_s=_rounded(status.expires_in_s),
        planned_bytes=status.planned_bytes,
        measured_bytes=status.measured_bytes,
        conceded=tuple(Concession(what=one.what, wanted=one.wanted, got=one.got) for one in status.conceded),
        variant=status.variant,
        alarm=status.alarm,
        degraded=status.degraded,
        calibrated=status.calibrated,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
