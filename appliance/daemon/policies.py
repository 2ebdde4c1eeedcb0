"""The configuration as the policies of the parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from appliance.access.keys import KeyRing, StoredKey
from appliance.access.scopes import Scope
from appliance.config import (
    LEAST_UBATCH,
    MOST_CONTEXT,
    MOST_THREADS,
    MOST_UBATCH,
    Config,
    ModelSettings,
)
from appliance.daemon.upkeep import UpkeepPolicy
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.wire.messages import Adapter, EngineSettings, Placement

_MAX_BACKOFF_S = 30.0
_BOUNDS: Final = {
    "n_ctx_seq": (0, MOST_CONTEXT),
    "n_ubatch": (LEAST_UBATCH, MOST_UBATCH),
    "n_threads": (0, MOST_THREADS),
}
"""Of `[engine]`: a model's own wishes are kept within them."""


def key_ring(config: Config) -> KeyRing:
    return KeyRing(
        {
            key_id: StoredKey(sha256=key.sha256, scopes=frozenset(Scope(scope) for scope in key.scopes))
            for key_id, key in config.access.keys.items()
        }
    )


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
        stop_timeout_s=runner.stop_timeout_s,
        max_crashes=runner.max_crashes,
        backoff_s=runner.backoff_s,
        max_backoff_s=_MAX_BACKOFF_S,
        quarantine_s=runner.quarantine_s,
        sandbox=runner.sandbox,
    )


def model_specs(config: Config, *, preload: Sequence[str] = ()) -> list[ModelSpec]:
    return [_spec(config, name, model, preload=name in preload) for name, model in config.models.items()]


def _spec(config: Config, name: str, model: ModelSettings, *, preload: bool) -> ModelSpec:
    told = {"n_ctx_seq": model.n_ctx_seq, "pooling": model.pooling}
    return ModelSpec(
        name=name,
        path=str(model.path),
        placement=placement(config, {key: value for key, value in told.items() if value is not None}),
        settings=engine_settings(config),
        draft_path=None if model.draft is None else str(model.draft),
        adapters=tuple(Adapter(name=adapter, path=str(path)) for adapter, path in model.adapters.items()),
        preload=preload,
    )


def placement(config: Config, overrides: Mapping[str, object]) -> Placement:
    """That of `[engine]`, with what one model wants otherwise, as far as `[engine]` itself may."""
    engine = config.engine
    common = Placement(
        n_ctx_seq=engine.n_ctx_seq,
        n_seq_max=engine.n_seq_max,
        kv_cells=engine.kv_cells,
        n_ubatch=engine.n_ubatch,
        type_k=engine.type_k,
        type_v=engine.type_v,
        n_threads=engine.n_threads,
    )
    return placed(common, overrides)


def placed(common: Placement, overrides: Mapping[str, object]) -> Placement:
    """`common` with what one model wants otherwise, within the bounds of `[engine]`."""
    return msgspec.structs.replace(common, **{key: _bounded(key, value) for key, value in overrides.items()})


def _bounded(key: str, value: object) -> object:
    if key not in _BOUNDS or not isinstance(value, int):
        return value
    low, high = _BOUNDS[key]
    return max(low, min(value, high))


def engine_settings(config: Config) -> EngineSettings:
    engine = config.engine
    return EngineSettings(
        step_bound_s=engine.step_bound_s,
        heartbeat_s=min(1.0, config.runner.heartbeat_timeout_s / 4),
        speculation=engine.speculation,
        prefix_reuse=engine.prefix_reuse,
        own_kernels=engine.own_kernels,
    )


def upkeep_policy(config: Config) -> UpkeepPolicy:
    store = config.store
    return UpkeepPolicy(
        scrub_interval_s=store.scrub_interval_h * 3600,
        scrub_bytes_per_s=store.scrub_bytes_per_s,
        gc_interval_s=store.gc_interval_h * 3600,
    )
