"""What of the configuration bears on whether a model fits, for `outpost fit` without a daemon.

Where there is no file the defaults stand here, without the configuration's classes: to load these takes
longer than all the rest. A test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from appliance.planner.choice import PARALLEL_SHARE
from appliance.planner.fit import Policy
from appliance.planner.ladder import COMFORTABLE_SLOTS
from appliance.supervisor.device import Device
from appliance.wire.load import Placement

if TYPE_CHECKING:
    from appliance.config import Config

DEFAULT_PATH: Final = Path("/etc/outpost/outpost.toml")

_PLACEMENT: Final = Placement(n_ctx_seq=4096, n_seq_max=64, kv_cells=0, n_ubatch=512)
_POLICY: Final = Policy(min_ctx=2048, comfortable=COMFORTABLE_SLOTS, parallel_share=PARALLEL_SHARE)


class NamedModel(Struct, frozen=True, kw_only=True):
    """One of `[models]`."""

    path: Path
    n_ctx_seq: int | None
    has_draft: bool


class FitSettings(Struct, frozen=True, kw_only=True):
    placement: Placement = _PLACEMENT
    """What `[engine]` asks for."""
    device: Device = Device.PREFER_GPU
    own_kernels: bool = True
    speculation: bool = True
    reserve_bytes: int = 0
    policy: Policy = _POLICY
    models: Mapping[str, NamedModel] = field(default_factory=dict)


def fit_settings(path: Path | None) -> FitSettings:
    """`path` None: `DEFAULT_PATH`, if it exists. Raises ConfigError."""
    if path is None and not DEFAULT_PATH.exists():
        return FitSettings()
    from appliance.config import load  # noqa: PLC0415 - only where there is something to be checked

    return of(load(path))


def of(config: Config) -> FitSettings:
    from appliance.daemon.placements import placement  # noqa: PLC0415 - with the configuration's classes

    engine, memory = config.engine, config.memory
    return FitSettings(
        placement=placement(config, {}),
        device=Device(engine.device),
        own_kernels=engine.own_kernels,
        speculation=engine.speculation,
        reserve_bytes=memory.reserve_bytes,
        policy=Policy(
            min_ctx=memory.min_ctx,
            comfortable=memory.comfortable_slots,
            parallel_share=memory.parallel_share,
        ),
        models={
            name: NamedModel(path=model.path, n_ctx_seq=model.n_ctx_seq, has_draft=model.draft is not None)
            for name, model in config.models.items()
        },
    )
