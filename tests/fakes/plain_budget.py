"""Budgets of a board that keeps nothing back, and rungs of any size."""

from __future__ import annotations

from appliance.planner.budget import Bound, Budget
from appliance.planner.facts import Footprint, Rung
from appliance.wire.messages import Placement


def plain_budget(free_bytes: float) -> Budget:
    free = max(0, int(free_bytes))
    return Budget(
        bytes=free,
        total_bytes=64 << 30,
        available_bytes=free,
        reserve_bytes=0,
        bound=Bound.MEM_AVAILABLE,
    )


def rung_of(size_bytes: int, *, n_ctx_seq: int = 4096) -> Rung:
    """For one request at a time."""
    footprint = Footprint(
        weights_bytes=size_bytes,
        mapped_bytes=0,
        cache_bytes=0,
        compute_bytes=0,
        output_bytes=0,
        process_bytes=0,
    )
    return Rung(placement=Placement(n_ctx_seq=n_ctx_seq, n_seq_max=1, kv_cells=0), footprint=footprint)
