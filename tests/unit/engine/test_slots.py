from __future__ import annotations

import pytest

from appliance.engine.slots import choose_slots


@pytest.mark.parametrize(
    ("wanted", "kv_cells", "available_bytes", "slots"),
    [
        (8, 4096, None, 4),
        (2, 4096, None, 2),
        (8, 512, None, 1),
        (64, 0, None, 8),
        (4, 0, None, 4),
        (64, 0, 20 * 1024 * 1000, 10),
        (4, 0, 20 * 1024 * 1000, 4),
        (64, 0, 1, 1),
    ],
)
def test_slots_fit_the_cells_or_half_of_the_memory(
    wanted: int, kv_cells: int, available_bytes: int | None, slots: int
) -> None:
    chosen = choose_slots(
        wanted=wanted,
        n_ctx_seq=1024,
        kv_cells=kv_cells,
        bytes_per_cell=1000,
        available_bytes=available_bytes,
    )
    assert chosen == slots
