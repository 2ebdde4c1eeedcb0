"""A size that a test can compute in its head: by weights, cells and tokens of ubatch."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.planner.facts import Footprint
from appliance.planner.ladder import Size
from appliance.wire.messages import Placement

_CELL_BITS = {"f32": 64, "f16": 32, "bf16": 32, "q8_0": 17, "q5_1": 12, "q4_0": 9}
"""Of one number of keys and one of values, over all blocks' scales."""


def flat_size(
    *, weights: int, cell: int = 32, ubatch: int = 1, projector: int = 0, layers: int | None = None
) -> Size:
    """Bytes: `cell` of a token at f16, `ubatch` of a token computed at once, `projector` of one on the GPU.
    `layers`: the weights lie in these, on a GPU with memory of its own as far as the placement says.
    """

    def one(placement: Placement) -> Footprint:
        bits = (_CELL_BITS[placement.type_k] + _CELL_BITS[placement.type_v]) // 2
        on_device = 0
        if layers is not None:
            wanted = layers if placement.n_gpu_layers < 0 else placement.n_gpu_layers
            on_device = weights * min(wanted, layers) // layers
        return Footprint(
            weights_bytes=weights + (0 if placement.projector_on_cpu else projector),
            mapped_bytes=0,
            cache_bytes=placement.kv_cells * cell * bits // 32,
            compute_bytes=placement.n_ubatch * ubatch,
            output_bytes=0,
            process_bytes=0,
            device_bytes=on_device,
        )

    def size(placements: Sequence[Placement]) -> list[Footprint]:
        return [one(placement) for placement in placements]

    return size
