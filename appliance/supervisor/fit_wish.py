"""How a model shall be loaded, as somebody asks whether it would fit. A value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from appliance.supervisor.policy import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FitWish:
    """None: as it would be."""

    n_ctx_seq: int | None = None
    n_seq_max: int | None = None
    min_ctx: int | None = None


def wished(spec: ModelSpec, wish: FitWish) -> ModelSpec:
    """What would be started for somebody who wishes so; also of those that may stand in."""
    told = {"n_ctx_seq": wish.n_ctx_seq, "n_seq_max": wish.n_seq_max}
    said = {name: value for name, value in told.items() if value is not None}
    return replace(
        spec,
        placement=msgspec.structs.replace(spec.placement, **said),
        min_ctx=spec.min_ctx if wish.min_ctx is None else wish.min_ctx,
        smaller=tuple(wished(one, wish) for one in spec.smaller),
    )
