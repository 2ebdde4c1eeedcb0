"""The configuration as the policies of the parts. Pure."""

from __future__ import annotations

from appliance.calibrating.values import Choice
from appliance.config import Config, ModelSettings
from appliance.daemon.placements import placement
from appliance.daemon.upkeep import UpkeepPolicy
from appliance.supervisor.device import Device
from appliance.supervisor.policy import ModelSpec, QueuePolicy, ResidencyPolicy, RunnerPolicy
from appliance.wire.messages import Adapter, EngineSettings

_MAX_BACKOFF_S = 30.0
_NOTHING_CHOSEN = Choice()


def queue_policy(config: Config) -> QueuePolicy:
    queue = config.queue
    return QueuePolicy(
        max_running=queue.max_running,
        max_waiting=queue.max_waiting,
        patience_s=queue.patience_s,
        background_max_wait_s=queue.background_max_wait_s,
    )


def runner_policy(config: Config) -> RunnerPolicy:
    runner = config.runner
    return RunnerPolicy(
        heartbeat_timeout_s=runner.heartbeat_timeout_s,
        load_timeout_s=runner.load_timeout_s,
        stall_timeout_s=runner.stall_timeout_s,
        canary_interval_s=runner.canary_interval_s,
        stop_timeout_s=runner.stop_timeout_s,
        max_crashes=runner.max_crashes,
        backoff_s=runner.backoff_s,
        max_backoff_s=_MAX_BACKOFF_S,
        quarantine_s=runner.quarantine_s,
        sandbox=runner.sandbox,
    )


def residency_policy(config: Config) -> ResidencyPolicy:
    lifecycle = config.lifecycle
    return ResidencyPolicy(
        turn_s=lifecycle.turn_s,
        min_residency_s=lifecycle.min_residency_s,
        parallel_share=config.memory.parallel_share,
        max_swaps_per_min=lifecycle.max_swaps_per_min,
    )


def model_spec(
    config: Config, name: str, model: ModelSettings, *, chosen: Choice = _NOTHING_CHOSEN
) -> ModelSpec:
    """One of `[models]`. `chosen` by its calibration."""
    told = {"n_ctx_seq": model.n_ctx_seq, "pooling": model.pooling}
    return ModelSpec(
        name=name,
        path=str(model.path),
        device=Device(model.device or config.engine.device),
        placement=placement(
            config, {key: value for key, value in told.items() if value is not None}, chosen=chosen
        ),
        settings=engine_settings(config, chosen=chosen),
        draft_path=None if model.draft is None else str(model.draft),
        adapters=tuple(Adapter(name=adapter, path=str(path)) for adapter, path in model.adapters.items()),
    )


def engine_settings(config: Config, *, chosen: Choice = _NOTHING_CHOSEN) -> EngineSettings:
    engine = config.engine
    return EngineSettings(
        step_bound_s=engine.step_bound_s,
        heartbeat_s=min(1.0, config.runner.heartbeat_timeout_s / 4),
        speculation=engine.speculation,
        prefix_reuse=engine.prefix_reuse,
        own_kernels=engine.own_kernels and chosen.own_kernels is not False,
    )


def upkeep_policy(config: Config) -> UpkeepPolicy:
    store = config.store
    return UpkeepPolicy(
        scrub_interval_s=store.scrub_interval_h * 3600,
        scrub_bytes_per_s=store.scrub_bytes_per_s,
        gc_interval_s=store.gc_interval_h * 3600,
    )
